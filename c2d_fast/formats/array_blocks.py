"""Reads the arrays of an .npz archive block by block: of ten million videos less is kept than is stored. Numpy only."""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.formats.archive_members import read_header
from c2d_fast.formats.integers import narrowed
from c2d_fast.formats.texts import Texts, end_type

_BLOCK_BYTES = 2**20


def read_blocks(path: Path, name: str, rows: int = 0) -> Iterator[NDArray[Any]]:
    """Yields an array of one dimension in blocks, and compares it with the archive's checksum; check_members comes before.

    Args:
        path: the archive.
        name: of the array.
        rows: of a block; 0: 1 MiB.

    Raises:
        those of archive_members.DAMAGED: it cannot be read, or does not match.
    """
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file, ThreadPoolExecutor(1) as ahead:
        (count,), dtype = read_header(file)
        rows = rows or max(_BLOCK_BYTES // dtype.itemsize, 1)
        sizes = [dtype.itemsize * min(rows, count - first) for first in range(0, count, rows)]
        # zlib unpacks without holding Python's lock: the next block, while this one is looked at.
        coming = ahead.submit(file.read, sizes[0]) if sizes else None
        for size, next_size in zip(sizes, [*sizes, 0][1:], strict=True):
            assert coming is not None
            data = coming.result()
            if len(data) != size:
                raise ValueError(f"{name} is cut short")
            coming = ahead.submit(file.read, next_size)
            yield np.frombuffer(data, dtype)
        if file.read(1):  # at whose end the checksum is compared
            raise ValueError(f"{name} is longer than it says")


def read_whole(path: Path, name: str, count: int, dtype: Any) -> NDArray[Any]:
    """Returns an array of count elements of a type; as read_blocks."""
    whole, filled = np.empty(count, dtype), 0
    for block in read_blocks(path, name):
        whole[filled : filled + len(block)] = block
        filled += len(block)
    return whole


def read_texts(path: Path, name: str, size: int) -> Texts:
    """Returns the strings of an array of UTF-8 with a NUL behind each, of size bytes; as read_blocks."""
    data, ends, filled = np.empty(size, np.uint8), [np.zeros(0, end_type(size))], 0
    for block in read_blocks(path, name):
        marks = np.flatnonzero(block == 0)
        ends.append((marks - np.arange(len(marks)) + filled).astype(end_type(size)))
        text = block.tobytes().replace(b"\0", b"")
        data[filled : filled + len(text)] = np.frombuffer(text, np.uint8)
        filled += len(text)
    return Texts(data[:filled], np.concatenate(ends))


def read_rows(
    path: Path, name: str, count: int, columns: Sequence[str] | None, look: Callable[[int, NDArray[Any]], None]
) -> NDArray[Any]:
    """Returns a structured array, or columns of it, each of the narrowest type that holds its values; as read_blocks.

    Args:
        path: the archive.
        name: of the array.
        count: of its elements, at least one.
        columns: that are kept; None: all, as they are.
        look: is given each block with the index of its first element, before anything of it is kept.
    """
    kept, filled = np.zeros(0, np.dtype([])), 0
    for block in read_blocks(path, name, rows=2**14):
        look(filled, block)
        if (dtype := _types(block, columns, kept.dtype)) != kept.dtype:
            earlier, kept = kept, np.empty(count, dtype)
            for column in earlier.dtype.names or ():
                kept[column][:filled] = earlier[column][:filled]
            del earlier
        if columns is None:
            kept[filled : filled + len(block)] = block
        for column in columns or ():
            kept[column][filled : filled + len(block)] = block[column]
        filled += len(block)
    return kept


def _types(block: NDArray[Any], columns: Sequence[str] | None, before: np.dtype[Any]) -> np.dtype[Any]:
    """Returns the types of columns that hold a block's values, and what those before hold."""
    if columns is None:
        return block.dtype
    types = {column: _narrowest(block[column]) for column in columns}
    if before.fields:
        types = {column: np.promote_types(type_, before.fields[column][0]) for column, type_ in types.items()}
    return np.dtype(list(types.items()))


def _narrowest(values: NDArray[Any]) -> np.dtype[Any]:
    if values.dtype.kind == "S":
        letters = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
        used = np.flatnonzero(letters.any(0))
        return np.dtype(f"S{used[-1] + 1 if len(used) else 1}")
    if values.dtype.kind != "i":
        return values.dtype
    return narrowed(values).dtype
