"""What loader workers are doing, asked from outside: they may hang in C code. No torch, no DALI.

A worker has the number of its video in its thread's name, which tools like top show, too.
"""

import ctypes
import faulthandler
import multiprocessing
import os
import signal
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

_PR_SET_NAME = 15  # linux/prctl.h
_ASK = signal.SIGUSR2
_ANSWER_S = 1.0


@cache
def inbox() -> str:
    """Returns a path, good while this process lives, that workers write their stacks to; "" where there are no memory files."""
    try:
        return f"/proc/{os.getpid()}/fd/{os.memfd_create('stacks')}"
    except OSError:
        return ""


def dump_stacks_to(path: str) -> None:
    """Called in a worker: from now on it writes its stacks to an inbox when asked."""
    with suppress(OSError):
        # Held open by faulthandler; it writes from a signal handler, also while Python's lock is held.
        faulthandler.register(_ASK, file=open(path, "a"), all_threads=True)  # noqa: SIM115


def set_thread_name(kind: str, index: int) -> None:
    """Called in a worker: puts what it reads into the name of its thread, e.g. "train 1234"."""
    _libc().prctl(_PR_SET_NAME, f"{kind} {index}".encode()[:15], 0, 0, 0)


def current_videos() -> dict[int, tuple[str, int]]:
    """Returns what each worker of this process reads or has read last: pid -> (kind, index)."""
    readings = {}
    for process in multiprocessing.active_children():
        with suppress(OSError):
            for path in Path(f"/proc/{process.pid}/task").glob("*/comm"):
                kind, _, number = path.read_text().strip().partition(" ")
                if kind in ("train", "eval") and number.isdigit() and process.pid:
                    readings[process.pid] = (kind, int(number))
    return readings


def collect_stacks() -> str:
    """Asks all workers for their stacks, and returns what they answer within a second."""
    path = inbox()
    if not path:
        return "no memory files here: their stacks cannot be asked for\n"
    parts = []
    for process in multiprocessing.active_children():
        with suppress(OSError):
            size = os.stat(path).st_size
            if process.pid and _answers(process.pid):
                os.kill(process.pid, _ASK)
                time.sleep(_ANSWER_S)
            with open(path, "rb") as file:
                file.seek(size)
                parts.append(f"\n{process.name} ({process.pid}):\n{file.read().decode(errors='replace')}")
    return "".join(parts) or "none\n"


def _answers(pid: int) -> bool:
    """Says whether a process has a handler for the signal, which would end it otherwise."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (_ASK - 1) & 1)
    return False


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
