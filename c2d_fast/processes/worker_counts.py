"""What the loader's workers have done, counted where it happens: frames decoded, bytes asked of servers. No torch, no DALI.

A row of numbers for each worker, in memory that the process which started them can read.
"""

import os
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_SLOTS = 4096  # a worker's is that of its process number: two that share one lose a few frames at worst
_counts: list[NDArray[Any]] = []


class Counts(NamedTuple):
    """Sums over all workers of a process."""

    frames: int = 0
    """That decoders have put out, or that were handed on to be decoded."""
    bytes: int = 0
    """Of answers of servers, without their headers."""
    requests: int = 0
    """To servers, those that were made again included."""
    retries: int = 0
    """The latter."""

    def since(self, earlier: "Counts") -> "Counts":
        """Returns what was counted after an earlier time."""
        return Counts(*(now - then for now, then in zip(self, earlier, strict=True)))


_COLUMNS = len(Counts())


@cache
def counts_path() -> str:
    """Returns a path, good while this process lives, that its workers count in; "" where there are no memory files."""
    try:
        file = os.memfd_create("worker counts")
    except OSError:
        return ""
    os.truncate(file, 8 * _SLOTS * _COLUMNS)
    return f"/proc/{os.getpid()}/fd/{file}"


def open_counts(path: str) -> None:
    """Called in a worker: from now on it counts there."""
    with suppress(OSError):
        if path and not _counts:
            _counts.append(np.memmap(path, np.int64, "r+").reshape(-1, _COLUMNS))


def add(frames: int) -> None:
    """Called in a worker: counts frames that its decoder has put out, or that it has handed on to be decoded."""
    if _counts:
        _counts[0][os.getpid() % _SLOTS, 0] += frames


def add_remote(*, size: int = 0, requests: int = 0, retries: int = 0) -> None:
    """Called in a worker: counts what it has asked of servers, and how many bytes it was given."""
    if _counts:
        _counts[0][os.getpid() % _SLOTS, 1:] += (size, requests, retries)


def total() -> int:
    """Returns how many frames all workers of this process have counted."""
    return totals().frames


def totals() -> Counts:
    """Returns what all workers of this process have counted."""
    with suppress(OSError):
        if path := counts_path():
            return Counts(*np.fromfile(path, np.int64).reshape(-1, _COLUMNS).sum(0).tolist())
    return Counts()
