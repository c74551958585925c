"""An RTSP server for tests: aio-rtsp-toolkit's over a folder of videos, each sent in real time, as a process of the tests' own.

Run as a program it is that server: `python rtsp_server.py FOLDER PORT`.
"""

import contextlib
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import tied_process


class RtspServer:
    """A context manager; skips the test where the package is not there."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._keeper = folder, contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def __enter__(self) -> "RtspServer":
        if find_spec("aio_rtsp_toolkit") is None:
            import pytest

            pytest.skip("there is no RTSP server (pip install aio-rtsp-toolkit)")
        self._own = Path(self._keeper.enter_context(tempfile.TemporaryDirectory(prefix="rtsp-server-")))
        self._keeper.callback(self.kill)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._keeper.close()

    def url(self, name: str) -> str:
        """Returns where a file's stream is."""
        return f"rtsp://127.0.0.1:{self._port}/{name}"

    def start(self) -> None:
        """Starts it, again with the port that it had."""
        with tied_process.listen(self._port) as sock:
            self._port = sock.getsockname()[1]
        command = [sys.executable, tied_process.__file__, sys.executable, __file__, str(self._folder), str(self._port)]
        with (self._own / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        tied_process.wait_for(self._port, self._process, self._own / "log")

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        tied_process.end(self._process)
        self._process = None


if __name__ == "__main__":
    import asyncio

    from aio_rtsp_toolkit import server

    asyncio.run(server.serve(sys.argv[1], "127.0.0.1", int(sys.argv[2])))
