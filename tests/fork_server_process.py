"""What fork_server.py starts: imports what commands import, and forks for each that is asked for."""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import multiprocessing.process
import os
import resource
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
import types
from pathlib import Path

ROOT = Path(__file__).parents[1]
_COMMANDS = ("train", "test", "predict", "browse", "analyze", "export", "info")
_OTHERS = ("decode", "prepare.scan", "prepare.transcode", "prepare.show", "commands.machine_facts", "loading.loader")
_LATE = (
    "psutil",
    "tensorboard.plugins.custom_scalar.layout_pb2",
    "tensorboard.plugins.hparams.api_pb2",
    "torch.utils.tensorboard",
)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class _Serving:
    """Forks for each request of the links. In the child ask() returns what is asked, in the server it never returns."""

    def __init__(self, listener):
        self._listener = listener
        self._forks = {}  # of each link
        self._ended, self._bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._bell)

    def ask(self):
        while True:
            ready, _, _ = select.select([self._listener, self._ended, *self._forks], [], [])
            for one in ready:
                if one is self._listener:
                    self._forks[one.accept()[0]] = set()
                elif one == self._ended:
                    self._tell_of_ends()
                elif fds := self._hear(one):
                    if not (pid := os.fork()):
                        return self._begin(fds)
                    for fd in fds:
                        os.close(fd)
                    self._forks[one].add(pid)
                    self._tell(one, b"%d\n" % pid)

    def _hear(self, link):
        """Returns the descriptors of a request; of a link whose process has ended all forks are ended."""
        with contextlib.suppress(ConnectionError):
            message, fds, _, _ = socket.recv_fds(link, 1, 4)
            if message:
                return fds
        for pid in self._forks.pop(link):
            os.kill(pid, signal.SIGKILL)
        link.close()
        return []

    def _tell_of_ends(self):
        os.read(self._ended, 4096)
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                for link, forks in self._forks.items():
                    if found[0] in forks:
                        forks.remove(found[0])
                        self._tell(link, b"%d %d\n" % found)

    def _tell(self, link, text):
        with contextlib.suppress(ConnectionError):  # it has ended, which is heard next
            link.sendall(text)

    def _begin(self, fds):
        """Is the fork: it ends with the server, has the streams that it was sent, and nothing of the server's."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (self._ended, self._bell):
            os.close(fd)
        for link in (self._listener, *self._forks):
            link.close()
        with open(fds[0], "rb") as file:
            file.seek(0)
            asked = json.load(file)
        for target, fd in enumerate(fds[1:]):
            os.dup2(fd, target)
            os.close(fd)
        return asked


def _main():
    """Is the server, and in each fork the command. Each ends with its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    listener = socket.socket(fileno=int(sys.argv[1]))
    select.select([listener], [], [])  # it may be that nobody needs it
    import fork_server
    import forked_workers

    sys.path[0] = str(ROOT)  # as -m has it; it was this file's folder
    for name in (*(f"commands.run_{command}" for command in _COMMANDS), *_OTHERS):
        importlib.import_module(f"c2d_fast.{name}")
    for name in _LATE:  # what commands import when they need it
        importlib.import_module(name)
    importlib.import_module("c2d_fast.reporting.charts").warm_up()
    forked_workers.prepare(fork_server.with_tests())
    assert threading.active_count() == 1  # beside those of OpenBLAS, which stops them for a fork
    gc.collect()
    gc.freeze()  # a fork's collections pass by what it was forked with, which would be copied for it
    asked = _Serving(listener).ask()
    if asked["session"]:
        os.setsid()
    # As an interpreter makes them: what kind of file is behind them is found out when they are opened.
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    if asked["limit"] is not None:  # Python lets writing past it fail: it ignores SIGXFSZ
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["limit"], asked["limit"]))
    sys.orig_argv[1:] = asked["command"]
    if asked["forked_workers"]:
        forked_workers.use()
    try:
        _run(*asked["command"], first=asked["first"])
    except SystemExit as end:
        _exit(end.code)
    except BaseException:
        traceback.print_exc()
        _exit(1)
    _exit(0)


def _run(kind, *words, first):
    """Is an interpreter with a command line: -m MODULE, -c CODE, or a script."""
    if first:
        os.environ["PYTHONPATH"] = os.pathsep.join([*first, os.environ["PYTHONPATH"]])
    if kind == "-m":
        sys.path[:0] = first
        from c2d_fast.processes import early_signals

        early_signals.exit_on_signals()
        module, *sys.argv[1:] = words
        runpy._run_module_as_main(module)
        return
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    multiprocessing.process.ORIGINAL_DIR = os.getcwd()
    if kind == "-c":
        text, *sys.argv[1:] = words
        sys.argv[0], here = "-c", ""
    else:
        main.__file__ = os.path.abspath(kind)
        text, here = Path(kind).read_text(), os.path.dirname(main.__file__)
        sys.argv[:] = [kind, *words]
    sys.path[:1] = [here, *first, str(ROOT)]
    exec(compile(text, main.__dict__.get("__file__", "<string>"), "exec"), vars(main))


def _exit(code):
    """Ends as an interpreter does, but without freeing all that has been imported: that takes more than a second."""
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    _main()
