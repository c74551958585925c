"""Signals that ask a command to end: a training run after the step that it is in, others as soon as they have tidied up."""

import os
import signal
import socket
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Self

from c2d_fast.errors import EXIT_INTERRUPTED, EndedError
from c2d_fast.processes.early_signals import STOP_SIGNALS, exit_code, exit_message, exit_now, received

__all__ = ["STOP_SIGNALS", "InterruptedBySignalError", "StopSignals", "end_if_stopped", "exit_code", "raise_on_signals"]

_TIDY_UP_LIMIT_S = 10.0
_WAIT_ON_S = 1.0
_open: list["StopSignals"] = []


def end_if_stopped() -> None:
    """Called again and again by what waits for others in this process, who may be waiting for a server that hangs.

    Raises:
        EndedError: a signal has been noted a moment ago, and what was waited for is not there yet.
    """
    for signals in _open:
        if signals.received and time.monotonic() - signals.received_s > _WAIT_ON_S:
            raise EndedError(exit_message(signals.received), exit_code(signals.received))


class InterruptedBySignalError(KeyboardInterrupt):
    """A signal has come: what Ctrl-C raises, and others here, too, so that what is half written goes away."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


def raise_on_signals() -> None:
    """From now on signals are exceptions in the main thread. A second one ends the process at once.

    So does a thread some time after the first: the main thread may be in C++ code, where Python raises nothing.
    """
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    def raise_(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            exit_now(number)
        raise InterruptedBySignalError(number)

    def insist() -> None:
        with theirs:  # open as long as this thread is
            while numbers := ours.recv(64):
                number = next((number for number in numbers if number in STOP_SIGNALS), 0)
                if number and signal.getsignal(number) == raise_:
                    time.sleep(_TIDY_UP_LIMIT_S)
                    exit_now(number)

    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, raise_)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=insist, name="signals", daemon=True).start()


class StopSignals:
    """While open, SIGTERM, SIGINT and SIGUSR1 are noted. A second SIGINT ends the process at once."""

    def __init__(self) -> None:
        self.received = 0
        """The first signal's number, 0 before."""
        self.received_s = 0.0
        """When that came, of time.monotonic()."""

    def __enter__(self) -> Self:
        # A thread hears of signals also while the main thread waits in C++ code, where Python calls no handlers.
        self._ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self._theirs = theirs
        self._handlers = {number: signal.signal(number, _leave_to_thread) for number in STOP_SIGNALS}
        self._wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, daemon=True).start()
        _open.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _open.remove(self)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        self._theirs.close()

    def _listen(self) -> None:
        interrupts = 0
        while numbers := self._ours.recv(64):
            for number in (number for number in numbers if number in STOP_SIGNALS):
                interrupts += number == signal.SIGINT
                if interrupts > 1:
                    print("interrupted twice: stopped at once, without saving", file=sys.stderr, flush=True)
                    os._exit(EXIT_INTERRUPTED)
                self.received_s = self.received_s or time.monotonic()
                self.received = self.received or number
        self._ours.close()


def _leave_to_thread(number: int, frame: FrameType | None) -> None:
    pass
