"""A process that does one thing after another for a stage: it may crash, hang, or be paused, and the stage goes on."""

import contextlib
import ctypes
import faulthandler
import importlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("spawn")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SAID = 12  # last lines of what a lost process has printed


class LostError(Exception):
    """There is no answer: the function raised, or the process crashed or hung. The message says how."""

    def __init__(self, message: str, *, is_gone: bool):
        super().__init__(message)
        self.is_gone = is_gone
        """Whether the process has ended."""


class Child:
    """A process with what it imported and built; functions are called in it by name, one at a time.

    By name, so that the stage itself imports none of what they need: it has to live on where that crashes.
    """

    def __init__(self, name: str, env: dict[str, str] | None = None, *, nice: int = 0):
        self.name = name
        self.paused_s = 0.0
        """How long it has been stopped since the last call."""
        self._called_s, self._is_ended = time.monotonic(), False
        self._said = tempfile.NamedTemporaryFile(prefix="gpu-stage-", suffix=".log")  # noqa: SIM115 - until end()
        self._pipe, theirs = _CONTEXT.Pipe()
        os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")  # it would complain of what killed processes held
        arguments = (theirs, self._said.name, env or {}, nice, os.getpid())
        self._process = _CONTEXT.Process(target=_serve, args=arguments, name=name)
        self._process.start()
        theirs.close()

    @property
    def waits_for(self) -> Connection:
        """Becomes readable when there is an answer, or the end of the process."""
        return self._pipe

    @property
    def seconds(self) -> float:
        """Time since the last call, without that in which it was stopped."""
        return time.monotonic() - self._called_s - self.paused_s

    def call(self, function: str, *args: Any) -> None:
        """Has it call a function ("module.function"); answer() gives the result. Arguments and result are pickled."""
        self._called_s, self.paused_s = time.monotonic(), 0.0
        with contextlib.suppress(OSError):  # it has ended: answer() says so
            self._pipe.send((function, args))

    def answer(self, limit_s: float) -> Any:
        """Returns the result of the function.

        Raises:
            LostError: it raised, the process ended, or nothing came in time. In the latter two the process is gone.
        """
        if not self._pipe.poll(max(limit_s, 0)):
            self._show_stacks()
            said = self.last_words()
            self.end()
            raise LostError(f"no answer within {limit_s:.0f} s{said}", is_gone=True)
        try:
            kind, value = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(10)
            code = self._process.exitcode
            how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
            said = self.last_words()
            self.end()
            raise LostError(f"the process ended by {how}{said}", is_gone=True) from None
        if kind == "raised":
            raise LostError(value, is_gone=False)
        return value

    def ask(self, function: str, *args: Any, limit_s: float) -> Any:
        """Calls, and waits for the result.

        Raises:
            LostError: as answer().
        """
        self.call(function, *args)
        return self.answer(limit_s)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the process and its own children for a while."""
        started_s = time.monotonic()
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)
            self.paused_s += time.monotonic() - started_s

    def end(self) -> None:
        """Ends the process and its own children, whatever they do."""
        if self._is_ended:  # its number may be another's by now
            return
        self._is_ended = True
        self._signal(signal.SIGKILL)
        if self._process.is_alive():  # it has not come to make a group of its own
            self._process.kill()
        self._process.join(10)
        self._pipe.close()
        self._said.close()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process.pid
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _show_stacks(self) -> None:
        assert self._process.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGUSR2)
        time.sleep(0.5)

    def last_words(self) -> str:
        """Returns what it printed last, as the end of a sentence; nothing if it has printed nothing."""
        with contextlib.suppress(OSError):
            lines = [line for line in Path(self._said.name).read_text(errors="replace").splitlines() if line.strip()]
            if lines:
                return "; it printed last: " + " | ".join(line.strip()[:200] for line in lines[-_SAID:])
        return ""


def _serve(pipe: Connection, log: str, env: dict[str, str], nice: int, parent: int) -> None:
    os.setpgid(0, 0)  # so that all that it starts can be stopped and ended with it
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has died in the meantime
        os._exit(1)
    said = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    os.environ |= env
    os.nice(nice)
    while True:
        try:
            function, args = pipe.recv()
        except EOFError:
            return
        module, _, name = function.rpartition(".")
        try:
            answer = ("returned", getattr(importlib.import_module(module), name)(*args))
        except (Exception, SystemExit) as error:
            answer = ("raised", " ".join(f"{type(error).__name__}: {error}".split())[:500])
        pipe.send(answer)
