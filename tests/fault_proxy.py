"""A proxy for tests before a web or S3 server: it delays, slows and spoils answers as it is told, and counts them."""

import json
import re
import socket
import subprocess
import sys
import threading
import urllib.parse
from typing import Any, NamedTuple

import fault_proxy_process
import tied_process

FAULTS = ("500", "503", "403", "404", "cut", "hang", "delay", "trickle", "wrong", "short", "ignore-range")


class Request(NamedTuple):
    """A request that has ended. Without an answer its status is 0; a header that was not there is empty."""

    method: str
    path: str
    range: str
    if_match: str
    status: int
    body_bytes: int
    fault: str


class Open(NamedTuple):
    """Connections of clients, and the requests among them that have not ended."""

    connections: int
    requests: int


class FaultProxy:
    """A context manager: the proxy before the server of an address. What is set holds for requests that begin later."""

    def __init__(self, url: str, seed: int = 0) -> None:
        parts = urllib.parse.urlsplit(url)
        self._server = [str(parts.hostname), str(parts.port)]
        self._seed = seed
        self._lock = threading.Lock()

    def __enter__(self) -> "FaultProxy":
        self._control, theirs = socket.socketpair()
        with theirs, tied_process.listen() as sock:
            self.url = "http://{}:{}".format(*sock.getsockname())
            fds = [theirs.fileno(), sock.fileno()]
            command = [sys.executable, fault_proxy_process.__file__, *map(str, fds), *self._server, str(self._seed)]
            self._process = subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL)
        self._answers = self._control.makefile("r")
        return self

    def __exit__(self, *_: object) -> None:
        tied_process.end(self._process)
        self._answers.close()
        self._control.close()

    def set(self, *, delay_s: float = 0.0, bandwidth: float | None = None) -> None:
        """Has each answer begin that much later, and its body pass with at most so many bytes a second, each by itself."""
        self._ask("set", delay_s=delay_s, bandwidth=bandwidth)

    def fault(
        self, kind: str, *, percent: float = 100, count: int | None = None, paths: str = "", seconds: float = 1.0
    ) -> None:
        """Spoils so many per cent of the requests whose path (with its query) the pattern finds, but no more than count.

        Of several faults that would hit a request the first that was given does. Seconds are those of "delay".
        """
        assert kind in FAULTS, kind
        re.compile(paths)
        self._ask("fault", kind=kind, percent=percent, count=count, paths=paths, seconds=seconds)

    def clear(self) -> None:
        """Ends all faults and the slowness."""
        self._ask("clear")

    def requests(self) -> list[Request]:
        """Returns the requests that have ended since the start or forget()."""
        return [Request(*each) for each in self._ask("requests")]

    def forget(self) -> None:
        """Counts requests, and the most at once, from now on."""
        self._ask("forget")

    def open(self) -> Open:
        """Returns how many there are now."""
        return Open(*self._ask("open"))

    def peak(self) -> Open:
        """Returns the most that there were at once."""
        return Open(*self._ask("peak"))

    def _ask(self, what: str, **more: Any) -> Any:
        with self._lock:
            self._control.sendall(json.dumps([what, more]).encode() + b"\n")
            line = self._answers.readline()
        if not line:
            raise RuntimeError("the proxy has ended")
        return json.loads(line)
