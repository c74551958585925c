"""Arrays that many processes read and one holds: sent as a name, mapped where they arrive."""

import math
import os
import weakref
from functools import cached_property
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.lib import recfunctions
from numpy.typing import NDArray

_ALIGN = 64

Handle = tuple[str, list[tuple[str, Any, tuple[int, ...], int]]]
"""What is sent: the file's path, and (name, dtype, shape, first byte) of each array; dtypes as .npy files describe them."""


class SharedArrays:
    """Copies of arrays in memory that other processes of this user can map, as long as this object lives.

    An anonymous file, not one in /dev/shm: containers give that 64 MB.
    """

    def __init__(self, arrays: dict[str, NDArray[Any]]):
        """Copies the arrays.

        Raises:
            OSError: the system cannot share memory like this.
        """
        fd = os.memfd_create("c2d_fast arrays", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, fd)
        path, parts, at = f"/proc/{os.getpid()}/fd/{fd}", [], 0
        # A choice of a structured array's columns keeps their old places, which no description of a type can say.
        arrays = {name: _packed(array) for name, array in arrays.items()}
        for name, array in arrays.items():
            parts.append((name, npy.dtype_to_descr(array.dtype), array.shape, at))
            at += math.ceil(array.nbytes / _ALIGN) * _ALIGN
        with open(path, "r+b") as file:
            for (_, _, _, start), array in zip(parts, arrays.values(), strict=True):
                file.seek(start)
                file.write(np.ascontiguousarray(array).data)
            file.truncate(at)
        self.handle: Handle = (path, parts)

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Returns the copies, read-only."""
        return map_arrays(self.handle)


def _packed(array: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(recfunctions.repack_fields(array)) if array.dtype.names else array  # type: ignore[no-untyped-call]


def map_arrays(handle: Handle) -> dict[str, NDArray[Any]]:
    """Returns the arrays of another process, read-only."""
    path, parts = handle
    return {name: np.memmap(path, npy.descr_to_dtype(dtype), "r", start, shape) for name, dtype, shape, start in parts}
