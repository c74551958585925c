"""Memory that a loader's workers write samples into and its own process reads: a slot for each sample in flight.

Anonymous files, not ones in /dev/shm, of which containers give 64 MB. A slot takes as much memory as the largest sample that it
has held.
"""

import mmap
import os
import weakref
from collections.abc import Sequence
from multiprocessing import reduction
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

_MOST_FILES = 128  # a process may have but so many open; slots beyond share them
_STRIDE = 2**40  # between slots that share a file: more than any sample, since files may have holes
_ALIGN = 64  # bytes, of a cache line
_GROW = 2**16

Layout = list[tuple[Any, tuple[int, ...], int]]
"""dtype (as .npy files describe it), shape and first byte of each array of a sample."""


class SampleMemory:
    """Slots for samples; pickled to a child process that is being spawned, it is the same memory there."""

    def __init__(self, slots: int):
        """Makes the memory.

        Raises:
            OSError: the system cannot share memory like this.
        """
        self._open([os.memfd_create("c2d_fast samples", os.MFD_CLOEXEC) for _ in range(min(slots, _MOST_FILES))])

    def _open(self, fds: list[int]) -> None:
        self._fds = fds
        self._maps: dict[int, mmap.mmap] = {}
        weakref.finalize(self, _close, fds)

    def __getstate__(self) -> Any:
        return [reduction.DupFd(fd) for fd in self._fds]

    def __setstate__(self, fds: Any) -> None:
        self._open([fd.detach() for fd in fds])

    def write(self, slot: int, arrays: Sequence[NDArray[Any]]) -> Layout:
        """Copies a sample's arrays into a slot; returns how to find them there."""
        layout: Layout = []
        end = 0
        for array in arrays:
            layout.append((npy.dtype_to_descr(array.dtype), array.shape, end))
            end += -(-array.nbytes // _ALIGN) * _ALIGN
        for view, array in zip(self._views(slot, layout, end), arrays, strict=True):
            view[...] = array
        return layout

    def read(self, slot: int, layout: Layout) -> list[NDArray[Any]]:
        """Returns a sample's arrays, which are the slot's memory and not copies of it."""
        dtype, shape, start = layout[-1]
        return self._views(slot, layout, start + int(np.prod(shape)) * npy.descr_to_dtype(dtype).itemsize)

    def _views(self, slot: int, layout: Layout, end: int) -> list[NDArray[Any]]:
        if slot not in self._maps or len(self._maps[slot]) < end:
            fd, start = self._fds[slot % len(self._fds)], slot // len(self._fds) * _STRIDE
            length = max(-(-end // _GROW), 1) * _GROW
            os.posix_fallocate(fd, start, length)  # never makes a file smaller; without memory an error, and not a signal
            # Arrays of before hold what was mapped for them.
            self._maps[slot] = mmap.mmap(fd, length, offset=start)
        memory = self._maps[slot]
        return [np.ndarray(shape, npy.descr_to_dtype(dtype), memory, start) for dtype, shape, start in layout]


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
