"""A web server for tests: nginx over a folder, as a process of the tests' own."""

import contextlib
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
import tied_process

_CONFIG = """
{modules}
daemon off; master_process off; worker_processes 1; pid {own}/pid; error_log {own}/error.log;
events {{ worker_connections 4096; }}
http {{
    log_format seen escape=json '["$request_method","$uri","$http_range","$http_if_match",$status,$body_bytes_sent]';
    access_log {own}/access.log seen;
    client_body_temp_path {own}/body; proxy_temp_path {own}/proxy; fastcgi_temp_path {own}/fastcgi;
    uwsgi_temp_path {own}/uwsgi; scgi_temp_path {own}/scgi;
    sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_timeout 300s; keepalive_requests 1000000; etag on;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        {delay}
        root "{folder}";
        location /private/ {{ return 403; }}
        location = /.all-logged {{ access_log off; return 204; }}
    }}
}}
"""


_DELAYING = [Path("/usr/lib/nginx/modules") / f"{name}_module.so" for name in ("ndk_http", "ngx_http_lua")]


class Request(NamedTuple):
    """A request that was answered; a header that was not there is empty."""

    method: str
    path: str
    range: str
    if_match: str
    status: int
    body_bytes: int


def can_delay() -> bool:
    """Says whether nginx can hold its answers back (Debian: apt install libnginx-mod-http-lua)."""
    return all(path.exists() for path in _DELAYING)


class HttpServer:
    """A context manager; skips the test where there is no nginx. All of /private/ is forbidden (403).

    Each answer begins delay_s later than it could; that needs can_delay().
    """

    def __init__(self, folder: Path | str, delay_s: float = 0.0) -> None:
        self._folder, self._delay_s = Path(folder).resolve(), delay_s
        self._keeper = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = self._forgotten = 0

    def __enter__(self) -> "HttpServer":
        self._nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin:/opt/nginx/sbin")
        if not self._nginx:
            pytest.skip("nginx is not installed (Debian: apt install nginx-light)")
        self._own = Path(self._keeper.enter_context(tempfile.TemporaryDirectory(prefix="http-server-")))
        self._keeper.callback(self.stop)
        self._log = self._own / "access.log"
        try:
            self.start()
        except BaseException:
            self._keeper.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._keeper.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it, again with the port that it had."""
        with tied_process.listen(self.port) as sock:
            self.port = sock.getsockname()[1]
        config = self._own / "nginx.conf"
        modules = delay = ""
        if self._delay_s:
            modules = " ".join(f"load_module {path};" for path in _DELAYING)
            delay = f"access_by_lua_block {{ ngx.sleep({self._delay_s}) }}"
        config.write_text(_CONFIG.format(own=self._own, port=self.port, folder=self._folder, modules=modules, delay=delay))
        command = [sys.executable, "-I", "-S", tied_process.__file__, self._nginx, "-p", self._own, "-c", config]
        with (self._own / "stderr").open("wb") as errors:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=errors)
        tied_process.wait_for(self.port, self._process, self._own / "stderr")
        self._wait_for_log()

    def stop(self) -> None:
        """Ends it, and with it all connections; further ones are refused."""
        tied_process.end(self._process)
        self._process = None

    def requests(self) -> list[Request]:
        """Returns what has been answered since the start or forget(), in the order in which the answers ended."""
        self._wait_for_log()
        return [Request(*json.loads(line)) for line in self._log.read_text().splitlines()[self._forgotten :]]

    def forget(self) -> None:
        """Counts from now on."""
        self._wait_for_log()
        self._forgotten = len(self._log.read_text().splitlines())

    def _wait_for_log(self) -> None:
        """One thread does everything, and logs a request before it turns to another."""
        if self._process is None:
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/.all-logged")
            assert connection.getresponse().status == 204
