"""Folders behind URLs, for tests of remote reading: on a web server and in a bucket at the same time."""

import contextlib
import os
import signal
from multiprocessing import forkserver
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pytest
from fault_proxy import FaultProxy, Request
from http_server import HttpServer
from s3_server import S3Server

from c2d_fast.remote import stores


class Served(NamedTuple):
    """A folder, and how to reach what was in it when it was uploaded."""

    folder: Path
    web: HttpServer
    s3: S3Server
    s3_log: FaultProxy
    """In front of the S3 server, since it is the one that counts."""

    def url(self, kind: str, name: str = "") -> str:
        """The URL of a file: http or s3."""
        root = {"http": self.web.url, "s3": f"s3://{self.s3.bucket}"}[kind]
        return f"{root}/{name}" if name else root

    def requests(self, kind: str, what: str = "") -> list[Request]:
        """What has been asked for since forget(), of files whose name has a text in it; no path is percent-encoded."""
        if kind == "http":
            found = self.web.requests()
        else:
            found = [request._replace(path=unquote(request.path.partition("?")[0])) for request in self.s3_log.requests()]
        return [request for request in found if what in request.path]

    def forget(self) -> None:
        self.web.forget()
        self.s3_log.forget()


@contextlib.contextmanager
def serve(folder: Path):
    """Serves a folder both ways; the environment is set up for it meanwhile."""
    with contextlib.ExitStack() as keeper:
        web, s3 = keeper.enter_context(HttpServer(folder)), keeper.enter_context(S3Server())
        log = keeper.enter_context(FaultProxy(s3.url))
        s3.upload(folder)
        patch = keeper.enter_context(pytest.MonkeyPatch.context())
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in s3.env_for(log.url).items():
            patch.setenv(name, value)
        # Stores keep the addresses of other tests' servers, and the process that workers are forks of its environment.
        stores._store.cache_clear()
        _end_fork_server()
        keeper.callback(_end_fork_server)
        yield Served(folder, web, s3, log)


def _end_fork_server():
    """The next worker starts another, which gets the environment of then."""
    server = forkserver._forkserver
    if server._forkserver_pid:
        os.kill(server._forkserver_pid, signal.SIGKILL)
        server._stop()
