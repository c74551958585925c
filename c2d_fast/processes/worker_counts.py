"""How many frames the loader's workers have decoded, counted where it happens. No torch, no DALI.

One number for each worker, in memory that the process which started them can read.
"""

import os
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SLOTS = 4096  # a worker's is that of its process number: two that share one lose a few frames at worst
_counts: list[NDArray[Any]] = []


@cache
def counts_path() -> str:
    """Returns a path, good while this process lives, that its workers count in; "" where there are no memory files."""
    try:
        file = os.memfd_create("frame counts")
    except OSError:
        return ""
    os.truncate(file, 8 * _SLOTS)
    return f"/proc/{os.getpid()}/fd/{file}"


def open_counts(path: str) -> None:
    """Called in a worker: from now on it counts there."""
    with suppress(OSError):
        if path and not _counts:
            _counts.append(np.memmap(path, np.int64, "r+"))


def add(frames: int) -> None:
    """Called in a worker: counts frames that its decoder has put out, or that it has handed on to be decoded."""
    if _counts:
        _counts[0][os.getpid() % _SLOTS] += frames


def total() -> int:
    """Returns how many frames all workers of this process have counted."""
    with suppress(OSError):
        if path := counts_path():
            return int(np.fromfile(path, np.int64).sum())
    return 0
