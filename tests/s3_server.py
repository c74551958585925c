"""An S3 server for tests: OpenStack Swift, all of it in one process of its own. It checks signatures, ranges and If-Match.

Run as a program it is that process: `python s3_server.py FOLDER FD`.
"""

import contextlib
import http.client
import importlib.util
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import tied_process

USER, PASSWORD, REGION = "test:tester", "testing", "us-east-1"
_START_LIMIT_S = 60
_STORES = ("account", "container", "object")
_FILTERS = ("memory", "without_range")  # those here
_PIPELINE = (
    "memory",
    "catch_errors",
    "gatekeeper",
    "healthcheck",
    "listing_formats",
    "s3api",
    "tempauth",
    "without_range",
    "slo",
)
_COMMON = """[DEFAULT]
swift_dir = {folder}
devices = {folder}/disk
mount_check = false
fallocate_reserve = 0
log_level = ERROR
"""
_OPTIONS = {
    "s3api": f"location = {REGION}\nmin_segment_size = 1\n",
    "tempauth": f"user_{USER.replace(':', '_')} = {PASSWORD} .admin\n",
}


class S3Server:
    """A context manager: the server with one bucket, whose objects are kept over stop() and start()."""

    bucket = "videos"

    def __init__(self) -> None:
        self._keeper = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> "S3Server":
        import pytest

        self._folder = Path(self._keeper.enter_context(tempfile.TemporaryDirectory(prefix="s3-server-")))
        self._keeper.callback(self.stop)
        try:
            if reason := _what_lacks(self._folder):
                pytest.skip(reason)
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

    @property
    def env(self) -> dict[str, str]:
        """The environment that obstore's S3Store.from_url("s3://videos") needs."""
        return self.env_for(self.url)

    @staticmethod
    def env_for(url: str) -> dict[str, str]:
        """The same for the address of a proxy in front of the server."""
        return {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "AWS_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
        }

    def store(self, url: str | None = None, retry_config: Any = None, **config: Any) -> Any:
        """Returns obstore's store of the bucket, by way of another address or with other keys where they are given."""
        from obstore.store import S3Store

        known = {name.lower(): value for name, value in self.env_for(url or self.url).items()}
        known["aws_virtual_hosted_style_request"] = "false"
        allow = known.pop("aws_allow_http") == "true"
        return S3Store(self.bucket, config={**known, **config}, client_options={"allow_http": allow}, retry_config=retry_config)

    def upload(self, folder: Path | str) -> None:
        """Puts each file of a folder into the bucket, under its path in there."""
        import obstore

        store = self.store()
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                obstore.put(store, path.relative_to(folder).as_posix(), path)

    def start(self) -> None:
        """Starts it, again with the port that it had."""
        with tied_process.listen(self.port) as sock, (self._folder / "stderr").open("wb") as errors:
            self.port = sock.getsockname()[1]
            command = [sys.executable, __file__, str(self._folder), str(sock.fileno())]
            more: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": errors, "stderr": errors}
            self._process = subprocess.Popen(command, pass_fds=[sock.fileno()], **more)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_START_LIMIT_S)
        try:
            connection.request("GET", "/healthcheck")
            assert connection.getresponse().read() == b"OK"
        except OSError as error:
            raise RuntimeError(f"Swift does not answer: {(self._folder / 'stderr').read_text()}") from error
        finally:
            connection.close()

    def stop(self) -> None:
        """Ends it, and with it all connections; further ones are refused."""
        tied_process.end(self._process)
        self._process = None


def _what_lacks(folder: Path) -> str:
    """Says what Swift would lack here, if anything."""
    for name in ("swift", "obstore"):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed (pip install -e '.[test]')"
    try:
        os.setxattr(folder, "user.test", b"x")
    except OSError as error:
        return f"Swift keeps facts in attributes of files, and {folder.parent} takes none: {error}"
    return ""


class _Memory:
    """What Swift remembers of buckets, in place of a memcached: without it each request has two more of its own."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def get(self, key: str, *_: Any, **__: Any) -> Any:
        return json.loads(self._kept.get(key, "null"))

    def set(self, key: str, value: Any, *_: Any, **__: Any) -> None:
        self._kept[key] = json.dumps(value)

    def delete(self, key: str, *_: Any, **__: Any) -> None:
        self._kept.pop(key, None)


def memory(_config: Any, **_: Any) -> Any:
    """Makes the filter that gives requests that memory, as Swift's configuration asks for one."""
    memory = _Memory()
    return lambda app: lambda env, start: app({**env, "swift.cache": memory}, start)


def without_range(_config: Any, **_: Any) -> Any:
    """Likewise, one that answers with the whole object where tests/fault_proxy.py asks for that: it cannot sign."""

    def change(env: dict[str, Any]) -> dict[str, Any]:
        if env.pop("HTTP_X_IGNORE_RANGE", None):
            env.pop("HTTP_RANGE", None)
        return env

    return lambda app: lambda env, start: app(change(env), start)


def _write_config(folder: Path, name: str) -> Path:
    """Writes what one of Swift's servers is made of."""
    app = f"{name}-server"
    filters = _PIPELINE if name == "proxy" else ()
    text = _COMMON.format(folder=folder) + f"[pipeline:main]\npipeline = {' '.join([*filters, app])}\n"
    text += f"[app:{app}]\nuse = egg:swift#{name}\n" + ("account_autocreate = true\n" if name == "proxy" else "")
    for each in filters:
        use = f"paste.filter_factory = s3_server:{each}" if each in _FILTERS else f"use = egg:swift#{each}"
        text += f"[filter:{each}]\n{use}\n{_OPTIONS.get(each, '')}"
    path = folder / f"{app}.conf"
    path.write_text(text)
    return path


def _serve(folder: Path, proxy: socket.socket) -> None:
    """Runs Swift's four servers in this process, as green threads."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import eventlet
    import eventlet.wsgi
    from swift.common import utils, wsgi

    eventlet.hubs.use_hub(utils.get_hub())
    eventlet.patcher.monkey_patch(all=False, socket=True, select=True, thread=True)
    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = tests\n")
    utils.SWIFT_CONF_FILE = str(folder / "swift.conf")
    utils.validate_hash_conf()
    from swift.common.ring import RingBuilder

    (folder / "disk" / "one").mkdir(parents=True, exist_ok=True)
    sockets = {name: eventlet.listen(("127.0.0.1", 0), backlog=512) for name in _STORES}
    for name, sock in sockets.items():
        ip, port = sock.getsockname()
        device = {"id": 0, "region": 1, "zone": 1, "device": "one", "weight": 1, "ip": ip, "port": port}
        ring = RingBuilder(0, 1, 0)  # one part, one copy
        ring.add_dev({**device, "replication_ip": ip, "replication_port": port})
        ring.rebalance()
        ring.get_ring().save(str(folder / f"{name}.ring.gz"))
    sockets["proxy"] = eventlet.greenio.GreenSocket(proxy)
    apps = {name: wsgi.loadapp(str(_write_config(folder, name)), {"log_name": name}) for name in sockets}
    options = {"protocol": wsgi.SwiftHttpProtocol, "capitalize_response_headers": False, "socket_timeout": 300}
    for name in _STORES:
        eventlet.spawn(eventlet.wsgi.server, sockets[name], apps[name], utils.NullLogger(), **options)
    _make_bucket(apps["proxy"])
    eventlet.wsgi.server(sockets["proxy"], apps["proxy"], utils.NullLogger(), **options)


def _make_bucket(app: Any) -> None:
    """Makes the bucket by Swift's own interface, behind the check of keys; does nothing where it is there."""
    from swift.common.wsgi import make_pre_authed_request

    for path in ("/v1/AUTH_test", f"/v1/AUTH_test/{S3Server.bucket}"):
        response = make_pre_authed_request({}, "PUT", path, agent="tests").get_response(app)
        assert response.status_int // 100 == 2 or path.count("/") == 2, response.status


if __name__ == "__main__":
    tied_process.end_with_parent()
    _serve(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
