"""Runs `python -m c2d_fast.NAME` as a fork of a process that has imported what commands import: seconds less for each.

The fork is a process of its own, with its own arguments, environment, streams and exit code, and it starts workers as any other
does. What only a new interpreter does it does not do: see can_run(). The server has no thread but its own, so that its forks
are sound.
"""

import atexit
import contextlib
import ctypes
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Nothing reads these before a command runs. Others are read by Python or a library when it is loaded.
_READ_LATE = {"XDG_CACHE_HOME", "FAULT", "COLUMNS", "PYTEST_CURRENT_TEST", "TORCH_HOME"}
_READ_LATE |= {"LOCAL_RANK", "LOCAL_WORLD_SIZE", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
_COMMANDS = ("train", "test", "predict", "browse", "analyze", "export", "info")
_OTHERS = ("prepare.scan", "prepare.transcode", "prepare.show", "commands.machine_facts", "loading.loader")
_START_LIMIT_S = 120
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_servers: dict = {}


def _kept(env):
    return {name: value for name, value in env.items() if name not in _READ_LATE}


def can_run(env):
    """Says whether a fork will do: nothing in the environment is new that an interpreter reads when it starts.

    But for the number of threads and the path of modules: there is a server for each of these.
    """
    own = {"OMP_NUM_THREADS", "PYTHONPATH", "CUDA_VISIBLE_DEVICES"}
    same = [{name: value for name, value in _kept(some).items() if name not in own} for some in (env, os.environ)]
    # A folder before the tests' own is there to put other modules in the place of the real ones.
    return same[0] == same[1] and env.get("PYTHONPATH", "") in ("", os.environ.get("PYTHONPATH", ""), with_tests())


def with_tests():
    """Returns a PYTHONPATH with the tests' folder before what is there."""
    return os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))


def run(module, words, *, env, timeout):
    """Runs a command from the project's root; returns a subprocess.CompletedProcess with its output as text.

    Raises:
        subprocess.TimeoutExpired: it took longer. It has been killed, and its children end with it.
    """
    key = tuple(env.get(name, "") for name in ("OMP_NUM_THREADS", "PYTHONPATH", "CUDA_VISIBLE_DEVICES"))
    if key not in _servers:
        _servers[key] = _Server(_kept(env))
    return _servers[key].run(module, words, env, timeout)


class _Server:
    def __init__(self, env):
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, __file__, str(theirs.fileno())]
        self._process = subprocess.Popen(command, cwd=ROOT, env=env, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        atexit.register(self._end)
        self._hear(_START_LIMIT_S)

    def _end(self):
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def run(self, module, words, env, timeout):
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as asked:
            asked.write(json.dumps({"module": module, "words": words, "env": env}).encode())
            asked.flush()
            socket.send_fds(self._socket, [b"x"], [asked.fileno(), out.fileno(), err.fileno()])
            pid, code = self._hear(_START_LIMIT_S), None
            with contextlib.suppress(TimeoutError):
                code = self._hear(timeout)
            if code is None:
                os.kill(pid, signal.SIGKILL)
                self._hear(_START_LIMIT_S)
                raise subprocess.TimeoutExpired([module, *words], timeout)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess([sys.executable, "-m", module, *words], code, *texts)

    def _hear(self, timeout):
        # A file object of a socket is of no use any more once a time limit has struck: a line is read by hand.
        self._socket.settimeout(timeout)
        line = b""
        while not line.endswith(b"\n"):
            more = self._socket.recv(1)
            assert more, "the server has ended"
            line += more
        return int(line)


def serve(link):
    """Forks for each request: in the child returns, in the server never."""
    with socket.socket(fileno=link) as mine:
        mine.sendall(b"0\n")  # ready
        while True:
            message, fds, _, _ = socket.recv_fds(mine, 1, 3)
            if not message:
                os._exit(0)
            pid = os.fork()
            if not pid:
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                break
            for fd in fds:
                os.close(fd)
            mine.sendall(b"%d\n" % pid)
            _, status = os.waitpid(pid, 0)
            mine.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    with open(fds[0], "rb") as file:
        file.seek(0)
        asked = json.load(file)
    for target, fd in ((1, fds[1]), (2, fds[2])):
        os.dup2(fd, target)
        os.close(fd)
    return asked


def main():
    """Is the server, and in each fork the command. Each ends with its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    sys.path[0] = str(ROOT)  # as -m has it; it was this file's folder
    for name in (*(f"commands.run_{command}" for command in _COMMANDS), *_OTHERS):
        importlib.import_module(f"c2d_fast.{name}")
    assert threading.active_count() == 1  # beside those of OpenBLAS, which stops them for a fork
    asked = serve(int(sys.argv[1]))
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv[1:] = asked["words"]
    sys.orig_argv[1:] = ["-m", asked["module"], *asked["words"]]
    from c2d_fast.processes import early_signals

    early_signals.exit_on_signals()
    runpy._run_module_as_main(asked["module"])


if __name__ == "__main__":
    main()
