"""Very many strings in little memory: the paths of ten million videos, or why they cannot be used. Numpy only."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

_CHUNK = 2**16  # strings that are made at a time


class Texts(Sequence[str]):
    """Strings as their UTF-8 bytes, one after another, and where each ends. It equals the tuple of the same strings.

    A string costs its bytes and 4 more (8 of very long lists), where one of a tuple costs about 60 more. Bytes that are no
    UTF-8, as in file names, are kept as Python's surrogate escapes.
    """

    __slots__ = ("data", "ends")

    def __init__(self, data: NDArray[np.uint8], ends: NDArray[Any]):
        """Takes arrays as they are.

        Args:
            data: uint8 [bytes].
            ends: integers [strings], rising.
        """
        self.data, self.ends = data, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        """Returns strings in this form.

        Raises:
            ValueError: one of them holds a NUL character.
        """
        # NUL marks the ends: no object is made for each of very many strings.
        held = texts if isinstance(texts, (list, tuple)) else list(texts)
        return cls.from_packed(("\0".join(held) + "\0" if held else "").encode(errors="surrogateescape"), len(held))

    @classmethod
    def from_packed(cls, packed: bytes, count: int) -> "Texts":
        """Returns strings that a NUL stands behind each of.

        Raises:
            ValueError: they are not count of them.
        """
        marks = np.flatnonzero(np.frombuffer(packed, np.uint8) == 0)
        if len(marks) != count:
            raise ValueError(f"{len(marks)} NUL characters, not {count}: no string may hold one")
        ends = marks - np.arange(len(marks))
        return cls(np.frombuffer(packed.replace(b"\0", b""), np.uint8), ends.astype(end_type(len(packed))))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        """Returns a string, or of a slice the tuple of them."""
        if isinstance(index, slice):
            return tuple(self.take(np.arange(len(self))[index]))
        index = range(len(self))[index]
        return self._bytes(index, index + 1).tobytes().decode(errors="surrogateescape")

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _CHUNK):
            yield from _unpacked(self._packed(first, min(first + _CHUNK, len(self))))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Texts):
            same = np.array_equal(self.ends, other.ends) and np.array_equal(self.data[: self._size], other.data[: other._size])
            return bool(same)
        if not isinstance(other, tuple):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        more = ", ..." if len(self) > 3 else ""
        return f"Texts.of([{', '.join(map(repr, self[:3]))}{more}])"

    def __reduce__(self) -> tuple[Any, ...]:
        return Texts, (self.data, self.ends)

    def lengths_of(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Returns the bytes of some of the strings: int64, as rows."""
        starts = np.where(rows > 0, self.ends[rows - 1], 0)
        lengths: NDArray[np.int64] = self.ends[rows].astype(np.int64) - starts
        return lengths

    @property
    def lengths(self) -> NDArray[Any]:
        """Returns the bytes of each string, [strings]."""
        lengths = self.ends.copy()
        lengths[1:] -= self.ends[:-1]
        return lengths

    def packed(self) -> Iterator[NDArray[np.uint8]]:
        """Yields all strings with a NUL behind each, some thousand at a time: uint8 [bytes]."""
        for first in range(0, len(self), _CHUNK):
            yield self._packed(first, min(first + _CHUNK, len(self)))

    def take(self, rows: NDArray[Any]) -> "Texts":
        """Returns some of the strings, in the order of rows: integers [any]; those at a time that memory is to spare for."""
        lengths = self.lengths_of(rows)
        new_ends = np.cumsum(lengths)
        places = np.arange(int(new_ends[-1]) if len(rows) else 0) + np.repeat(self.ends[rows] - new_ends, lengths)
        return Texts(self.data[places], new_ends.astype(end_type(len(places))))

    @property
    def _size(self) -> int:
        return int(self.ends[-1]) if len(self) else 0

    def _bytes(self, first: int, end: int) -> NDArray[np.uint8]:
        return self.data[int(self.ends[first - 1]) if first else 0 : int(self.ends[end - 1])]

    def _packed(self, first: int, end: int) -> NDArray[np.uint8]:
        data, count = self._bytes(first, end), end - first
        packed, is_text = np.zeros(len(data) + count, np.uint8), np.ones(len(data) + count, bool)
        ends = self.ends[first:end].astype(np.int64) - (int(self.ends[first - 1]) if first else 0)
        is_text[ends + np.arange(count)] = False
        packed[is_text] = data
        return packed


def joined(columns: Sequence[Sequence[str]], rows: NDArray[Any]) -> Texts:
    """Returns strings of several sequences, one behind another, in the order of rows: integers [any]."""
    texts = [column if isinstance(column, Texts) else Texts.of(column) for column in columns]
    sizes = np.cumsum([0, *(one._size for one in texts)])
    ends = [one.ends.astype(end_type(int(sizes[-1]))) + offset for one, offset in zip(texts, sizes.tolist(), strict=False)]
    whole = Texts(np.concatenate([one.data[: one._size] for one in texts]), np.concatenate(ends))
    some = [whole.take(rows[first : first + _CHUNK]) for first in range(0, len(rows), _CHUNK)]
    new_ends = np.cumsum(np.concatenate([one.lengths for one in some])) if some else np.zeros(0)
    data = np.concatenate([one.data for one in some]) if some else whole.data[:0]
    return Texts(data, new_ends.astype(end_type(len(data))))


def end_type(size: int) -> Any:
    """Returns the type of integers that count so many bytes."""
    return np.int32 if size < 2**31 else np.int64


def _unpacked(packed: NDArray[np.uint8]) -> list[str]:
    return packed.tobytes().decode(errors="surrogateescape").split("\0")[:-1]


def are_empty(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Says of each string whether it is empty: bool [strings]."""
    if isinstance(texts, Texts):
        is_empty = texts.ends == 0
        is_empty[1:] |= texts.ends[1:] == texts.ends[:-1]
        return np.asarray(is_empty)
    return np.fromiter((not text for text in texts), bool, len(texts))


def chosen(texts: Sequence[str], rows: NDArray[Any]) -> Sequence[str]:
    """Returns some of the strings, in the order of rows: integers [any]."""
    return texts.take(rows) if isinstance(texts, Texts) else [texts[row] for row in rows.tolist()]
