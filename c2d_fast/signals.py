"""Signals that ask a run to stop after the step that it is in."""

import os
import signal
import socket
import sys
import threading
from types import FrameType, TracebackType
from typing import Self

from c2d_fast.errors import EXIT_INTERRUPTED

ASK_TO_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Of a job system, of Ctrl-C, and of Slurm's --signal."""


def exit_code(number: int) -> int:
    """Returns the exit code of a run that a signal has ended: 128 + number, as shells say it."""
    return 128 + number


class StopSignals:
    """While open, SIGTERM, SIGINT and SIGUSR1 are noted. A second SIGINT ends the process at once."""

    def __init__(self) -> None:
        self.received = 0
        """The first signal's number, 0 before."""

    def __enter__(self) -> Self:
        # A thread hears of signals also while the main thread waits in C++ code, where Python calls no handlers.
        self._ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self._theirs = theirs
        self._handlers = {number: signal.signal(number, _leave_to_thread) for number in ASK_TO_STOP}
        self._wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        self._theirs.close()

    def _listen(self) -> None:
        interrupts = 0
        while numbers := self._ours.recv(64):
            for number in (number for number in numbers if number in ASK_TO_STOP):
                interrupts += number == signal.SIGINT
                if interrupts > 1:
                    print("interrupted twice: stopped at once, without saving", file=sys.stderr, flush=True)
                    os._exit(EXIT_INTERRUPTED)
                self.received = self.received or number
        self._ours.close()


def _leave_to_thread(number: int, frame: FrameType | None) -> None:
    pass
