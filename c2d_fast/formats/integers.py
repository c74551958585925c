"""Integers of an array where a sequence of Python's is expected: the labels of ten million videos. Numpy only."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

_CHUNK = 2**16  # numbers that are made at a time


class Integers(Sequence[int]):
    """An array's integers as Python's; it equals the tuple of the same numbers."""

    __slots__ = ("array",)

    def __init__(self, array: NDArray[Any]):
        """Takes an array of integers of one dimension, as it is."""
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[int, ...]: ...
    def __getitem__(self, index: int | slice) -> int | tuple[int, ...]:
        """Returns a number, or of a slice the tuple of them."""
        return tuple(self.array[index].tolist()) if isinstance(index, slice) else int(self.array[index])

    def __iter__(self) -> Iterator[int]:
        for first in range(0, len(self), _CHUNK):
            yield from self.array[first : first + _CHUNK].tolist()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Integers):
            return bool(np.array_equal(self.array, other.array))
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Integers({self.array!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Integers, (self.array,)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.array, dtype, copy=copy)


def narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """Returns integers in the narrowest type that holds them all: to compute with them they need a wider one."""
    if not len(array):
        return array
    low, high = int(array.min()), int(array.max())
    types = (np.int8, np.int16, np.int32, np.int64) if low < 0 else (np.uint8, np.uint16, np.uint32, np.uint64)
    return array.astype(
        next(type_ for type_ in types if np.iinfo(type_).min <= low and high <= np.iinfo(type_).max), copy=False
    )


def distinct(numbers: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the numbers that there are, rising, and where each stands first: int64 [distinct] both."""
    array = np.asarray(numbers)
    firsts: dict[int, int] = {}
    for start in range(0, len(array), 2**20):  # each block is sorted alone: copies of all would take much memory
        found, first = np.unique(array[start : start + 2**20], return_index=True)
        for number, index in zip(found.tolist(), first.tolist(), strict=True):
            firsts.setdefault(number, start + index)
    known = sorted(firsts)
    return np.array(known, np.int64), np.array([firsts[number] for number in known], np.int64)
