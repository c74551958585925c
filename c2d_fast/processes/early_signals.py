"""What signals do while a command still starts, and nothing is there to be saved: they end it, with a word and an exit code.

Light: it is the first that a command imports.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Of a job system, of Ctrl-C, and of Slurm's --signal."""

received: list[int] = []
"""Signals that have been made exceptions. Foreign code may have made others of these: an import that fails, for one."""


def exit_code(number: int) -> int:
    """Returns the exit code of a command that a signal has ended: 128 + number, as shells say it."""
    return 128 + number


def exit_message(number: int) -> str:
    """Returns what is said of a command that a signal has ended."""
    return "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"


def exit_now(number: int, frame: FrameType | None = None) -> None:
    """Ends the process, as a signal's handler or called by one."""
    try:
        os.write(2, f"{exit_message(number)}\n".encode())
    finally:
        os._exit(exit_code(number))


def is_command() -> bool:
    """Says whether this process was started as `python -m c2d_fast...`, or by the program's script.

    Not so as a worker, or by who imports the package.
    """
    words = [*sys.orig_argv[1:], ""]
    if os.path.basename(next(word for word in words if not word.startswith("-"))) == "c2d-fast":
        return True
    indices = [index for index, word in enumerate(words) if word.startswith("-m")]
    name = (words[indices[0]].removeprefix("-m") or words[indices[0] + 1]) if indices else ""
    return name.split(".")[0] == "c2d_fast"


def exit_on_signals() -> None:
    """From now on signals end this process at once, also where Python would print where it was."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup, or a job in the background
            signal.signal(number, exit_now)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """While open, signals wait. For the start of a process: broken off half-way, it would print a traceback.

    Blocking a signal does not do: another thread takes it, and Python then calls the handler in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():  # no handler is called in it
        yield
        return
    deferred: list[int] = []
    handlers = {int(number): signal.getsignal(number) for number in STOP_SIGNALS}
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in ours:
        signal.signal(number, lambda number, frame: deferred.append(number))
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        for number in deferred:  # called, not raised again: who listens by a wakeup file has heard of it
            ours[number](number, None)
