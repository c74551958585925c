"""Starts `python -m c2d_fast.NAME`, or a script, as a fork of a process that has imported what commands import.

That takes seconds less for each.

The fork is a process of its own, with its own arguments, environment, streams, signals and exit code. Its workers are forks,
too (forked_workers.py), where SPAWNED_WORKERS does not say otherwise. What only a new interpreter does it does not do: see
can_start(). The server has no thread of Python's but its own, so that its forks are sound.
"""

import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Nothing reads these before a command runs. Others are read by Python or a library when it is loaded.
_READ_LATE = {"XDG_CACHE_HOME", "FAULT", "COLUMNS", "PYTEST_CURRENT_TEST", "TORCH_HOME", "TORCHELASTIC_MAX_RESTARTS",
              "TORCHELASTIC_RESTART_COUNT", "HF_HUB_OFFLINE", "https_proxy", "HTTPS_PROXY", "NETRC",
              "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}  # fmt: skip
_READ_LATE |= {"LOCAL_RANK", "LOCAL_WORLD_SIZE", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
_OF_SERVER = ("OMP_NUM_THREADS", "PYTHONPATH", "CUDA_VISIBLE_DEVICES")
_START_LIMIT_S = 120
_SHARED = "SHARED_FORK_SERVER"
_GIVEN = "FORK_SERVER_GIVEN"  # a name that no environment has
SPAWNED_WORKERS = False  # whether workers of forked commands start as they do for users; conftest sets it for each file
_servers: dict = {}


def with_tests():
    """Returns a PYTHONPATH with the tests' folder before what is there."""
    return os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))


def environment(**more):
    """Returns that of commands in tests: one thread, so that one process and several compute alike, and no GPU."""
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": with_tests(), **more}


def can_start(command, env, more):
    """Says whether a fork will do: nothing is asked of it that happens when an interpreter starts.

    There is a server for each number of threads and each path of modules. A folder before the tests' own is there to put other
    modules in the place of the real ones. A script, and code after -c, has its first_on_path beside, see start(). What may use
    a GPU is no fork: CUDA works in none whose parent has asked for a GPU.
    """
    if env.get("CUDA_VISIBLE_DEVICES", "0"):
        return False
    own = {*_OF_SERVER, *_READ_LATE}
    fixed = [{name: value for name, value in some.items() if name not in own} for some in (env, os.environ)]
    paths = ("", os.environ.get("PYTHONPATH", ""), with_tests())
    is_command = command[:2] == [sys.executable, "-m"] and command[2].startswith("c2d_fast.")
    is_command |= command[0] == sys.executable and (command[1] == "-c" or command[1].endswith(".py"))
    return is_command and not more and fixed[0] == fixed[1] and env.get("PYTHONPATH", "") in paths


def start(command, env, *, cwd=ROOT, first_on_path=(), file_limit=None, **more):
    """As subprocess.Popen(command, env=env, cwd=cwd, **more), by a fork where that will do.

    Folders that are first on the path of a fork hold modules that the server has not imported. A limit of files' size, in
    bytes, is as a full disk.
    """
    session = more.pop("start_new_session", False)
    known = {name: more.pop(name) for name in ("stdin", "stdout", "stderr", "text") if name in more}
    forked = not (SPAWNED_WORKERS or first_on_path or file_limit)
    given = {"cwd": str(cwd), "first": list(map(str, first_on_path)), "limit": file_limit, "forked_workers": forked}
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


def share(env):
    """Starts a server for this process and those that it starts, pytest-xdist's for instance."""
    address = _start(env)
    os.environ[_SHARED] = json.dumps([_key(env), address])


def _key(env):
    return [env.get(name, "") for name in _OF_SERVER]


def _server_for(env):
    key = _key(env)
    if tuple(key) not in _servers:
        shared, address = json.loads(os.environ.get(_SHARED, "[null, null]"))
        _servers[tuple(key)] = _Server(address if key == shared else _start(env))
    return _servers[tuple(key)]


def _start(env):
    """Starts a server, which ends with this process; returns the address at which it will listen."""
    env = {name: value for name, value in env.items() if name not in _READ_LATE}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # the system makes up an abstract name
        listener.listen()
        command = [sys.executable, str(ROOT / "tests" / "fork_server_process.py"), str(listener.fileno())]
        process = subprocess.Popen(command, cwd=ROOT, env=env, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL)
        atexit.register(process.wait)
        atexit.register(process.kill)
        return listener.getsockname().decode()


class _Server:
    """A link to a server, and what it has said: "pid" of each fork, then "pid status" when it has ended."""

    def __init__(self, address):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address)
        atexit.register(self._socket.close)
        self._text, self._begun, self._status = b"", [], {}
        self._lock = threading.RLock()

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
