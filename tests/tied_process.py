"""What the servers of the tests share: processes that end with the test's own, and their sockets.

Run as a program it becomes the command that it is given: `python tied_process.py COMMAND ...`.
"""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_START_LIMIT_S = 60


def end_with_parent() -> None:
    """Has the kernel end this process when the thread that started it ends, also by SIGKILL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def listen(port: int = 0) -> socket.socket:
    """Returns a socket that listens on the loopback.

    Where no port is asked for it is one that no connection is given as its own, so that it is still free after a stop.
    """
    for _ in range(100):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port or random.SystemRandom().randrange(20000, 32000)))
            sock.listen(1024)
            return sock
        except OSError:
            sock.close()
            if port:
                time.sleep(0.05)  # its last owner may be about to end
    raise OSError(f"no port to listen on: {port}")


def wait_for(port: int, process: subprocess.Popen[bytes], errors: Path) -> None:
    """Returns when a server answers on a port; its errors are in a file."""
    end = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError(f"a server has not started: {errors.read_text()}")


def end(process: subprocess.Popen[bytes] | None) -> None:
    """Ends a process at once."""
    if process:
        process.kill()
        process.wait()


if __name__ == "__main__":
    end_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])
