"""Starts `python -m c2d_fast.NAME`, or a script, as a fork of a process that has imported what commands import.

That takes seconds less for each.

The fork is a process of its own, with its own arguments, environment, streams, signals and exit code, and it starts workers as
any other does. What only a new interpreter does it does not do: see can_start(). The server has no thread of Python's but its
own, so that its forks are sound.
"""

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
import subprocess
import sys
import tempfile
import threading
import traceback
import types
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Nothing reads these before a command runs. Others are read by Python or a library when it is loaded.
_READ_LATE = {"XDG_CACHE_HOME", "FAULT", "COLUMNS", "PYTEST_CURRENT_TEST", "TORCH_HOME", "TORCHELASTIC_MAX_RESTARTS",
              "TORCHELASTIC_RESTART_COUNT", "HF_HUB_OFFLINE", "https_proxy", "HTTPS_PROXY", "NETRC",
              "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}  # fmt: skip
_READ_LATE |= {"LOCAL_RANK", "LOCAL_WORLD_SIZE", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
_OF_SERVER = ("OMP_NUM_THREADS", "PYTHONPATH", "CUDA_VISIBLE_DEVICES")
_COMMANDS = ("train", "test", "predict", "browse", "analyze", "export", "info")
_OTHERS = ("decode", "prepare.scan", "prepare.transcode", "prepare.show", "commands.machine_facts", "loading.loader")
_LATE = (
    "psutil",
    "tensorboard.plugins.custom_scalar.layout_pb2",
    "tensorboard.plugins.hparams.api_pb2",
    "torch.utils.tensorboard",
)
_START_LIMIT_S = 120
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_GIVEN = "FORK_SERVER_GIVEN"  # a name that no environment has
_servers: dict = {}


def with_tests():
    """Returns a PYTHONPATH with the tests' folder before what is there."""
    return os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))


def can_start(command, env, more):
    """Says whether a fork will do: nothing is asked of it that happens when an interpreter starts.

    There is a server for each number of threads and each path of modules. A folder before the tests' own is there to put other
    modules in the place of the real ones. A script, and code after -c, has its first_on_path beside, see start().
    """
    own = {*_OF_SERVER, *_READ_LATE}
    fixed = [{name: value for name, value in some.items() if name not in own} for some in (env, os.environ)]
    paths = ("", os.environ.get("PYTHONPATH", ""), with_tests())
    is_command = command[:2] == [sys.executable, "-m"] and command[2].startswith("c2d_fast.")
    is_command |= command[0] == sys.executable and (command[1] == "-c" or command[1].endswith(".py"))
    return is_command and fixed[0] == fixed[1] and env.get("PYTHONPATH", "") in paths and not more


def start(command, env, *, cwd=ROOT, first_on_path=(), file_limit=None, **more):
    """As subprocess.Popen(command, env=env, cwd=cwd, **more), by a fork where that will do.

    Folders that are first on the path of a fork hold modules that the server has not imported. A limit of files' size, in
    bytes, is as a full disk.
    """
    session = more.pop("start_new_session", False)
    known = {name: more.pop(name) for name in ("stdin", "stdout", "stderr", "text") if name in more}
    given = {"cwd": str(cwd), "first": list(map(str, first_on_path)), "limit": file_limit}
    if can_start(command, env, more):
        return _Fork(command, env={**env, _GIVEN: json.dumps(given)}, start_new_session=session, **known)
    assert not first_on_path
    assert file_limit is None
    return subprocess.Popen(command, env=env, cwd=cwd, start_new_session=session, **known, **more)


def run(command, env, timeout, **more):
    """As subprocess.run(command, env=env, cwd=cwd, timeout=timeout, capture_output=True, text=True), likewise."""
    with start(command, env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


class _Fork(subprocess.Popen):
    """A command that the server has forked: all of Popen, but for how it is started and waited for."""

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
                       p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, restore_signals, gid, gids, uid, umask,
                       start_new_session, process_group):  # fmt: skip
        with open(os.devnull) as nothing:
            # Where no stream is given a command has the tests' own, as with Popen.
            given = zip((p2cread, c2pwrite, errwrite), (nothing.fileno(), 1, 2), strict=True)
            fds = [fd if fd != -1 else other for fd, other in given]
            asked = {"command": args[1:], "session": start_new_session, **json.loads(env.pop(_GIVEN)), "env": env}
            self._server = _server_for(env)
            self.pid = self._server.fork(asked, fds)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)

    def _try_wait(self, wait_flags):
        status = self._server.status(self.pid, wait=not wait_flags & os.WNOHANG)
        return (0, 0) if status is None else (self.pid, status)

    def _internal_poll(self, _deadstate=None, **_):
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid == self.pid:
                self._handle_exitstatus(status)
        return self.returncode


def _server_for(env):
    key = tuple(env.get(name, "") for name in _OF_SERVER)
    if key not in _servers:
        _servers[key] = _Server({name: value for name, value in env.items() if name not in _READ_LATE})
    return _servers[key]


class _Server:
    """The server's process, and what it has said: "pid" of each fork, then "pid status" when it has ended."""

    def __init__(self, env):
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, __file__, str(theirs.fileno())]
        self._process = subprocess.Popen(command, cwd=ROOT, env=env, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        atexit.register(self._end)
        self._text, self._begun, self._status = b"", [], {}
        self._lock = threading.RLock()
        self._hear(_START_LIMIT_S)
        self._begun.clear()

    def _end(self):
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def fork(self, asked, fds):
        """Has a command started; returns its process."""
        with tempfile.TemporaryFile() as file:
            file.write(json.dumps(asked).encode())
            file.flush()
            with self._lock:
                self._socket.settimeout(_START_LIMIT_S)
                socket.send_fds(self._socket, [b"x"], [file.fileno(), *fds])
                while not self._begun:
                    self._hear(_START_LIMIT_S)
                return self._begun.pop()

    def status(self, pid, *, wait):
        """Returns with what a fork has ended, as waitpid says it; None while it goes on. Any thread may ask."""
        while True:
            with self._lock:
                if pid in self._status:
                    return self._status[pid]
                with contextlib.suppress(TimeoutError, BlockingIOError):
                    self._hear(0.05 if wait else 0)
                    continue
            if not wait:
                return None

    def _hear(self, timeout):
        self._socket.settimeout(timeout)
        more = self._socket.recv(4096)
        assert more, "the server has ended"
        *lines, self._text = (self._text + more).split(b"\n")
        for line in lines:
            pid, *status = map(int, line.split())
            if status:
                self._status[pid] = status[0]
            else:
                self._begun.append(pid)
                self._status.pop(pid, None)  # of an earlier process of that number


def _serve(link):
    """Forks for each request: in the child returns what is asked, in the server never."""
    ended, bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(bell)
    link.sendall(b"0\n")  # ready
    while True:
        ready, _, _ = select.select([link, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            with contextlib.suppress(ChildProcessError):
                while (found := os.waitpid(-1, os.WNOHANG))[0]:
                    link.sendall(b"%d %d\n" % found)
        if link in ready:
            message, fds, _, _ = socket.recv_fds(link, 1, 4)
            if not message:
                os._exit(0)
            if pid := os.fork():
                for fd in fds:
                    os.close(fd)
                link.sendall(b"%d\n" % pid)
                continue
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (ended, bell):
                os.close(fd)
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
    sys.path[0] = str(ROOT)  # as -m has it; it was this file's folder
    for name in (*(f"commands.run_{command}" for command in _COMMANDS), *_OTHERS):
        importlib.import_module(f"c2d_fast.{name}")
    for name in _LATE:  # what commands import when they need it
        importlib.import_module(name)
    importlib.import_module("c2d_fast.reporting.charts").warm_up()
    assert threading.active_count() == 1  # beside those of OpenBLAS, which stops them for a fork
    gc.collect()
    gc.freeze()  # a fork's collections pass by what it was forked with, which would be copied for it
    asked = _serve(socket.socket(fileno=int(sys.argv[1])))
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
