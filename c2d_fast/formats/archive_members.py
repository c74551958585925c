"""Looks into an .npz archive before anything in it is read or mapped: which arrays, of which type and size. Numpy only.

An array's type stands in the file. One that holds Python's objects would, mapped, have this process follow addresses from the
file; and a few kilobytes can say that they unpack to all of the memory.
"""

import lzma
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

_LONGEST_TEXT = 4096
_SMALL = 64 * 2**20
_MOST_UNPACKED = 200
"""How many times as large as in the archive its arrays may be, above what is small in any case: many like rows pack well."""
DAMAGED = (
    *(OSError, ValueError, LookupError, EOFError, TypeError, RuntimeError, OverflowError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, SyntaxError, tokenize.TokenError),
)
"""What reading an archive of damaged bytes was seen to raise."""
TEXT = "text"
"""In place of a dtype: a single text."""


@dataclass(frozen=True)
class Member:
    """An array of an archive."""

    first_byte: int
    """Of its elements: within the member, behind the array's header; of a stored member within the file."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def check_members(path: Path, expected: Mapping[str, Any], *, stored: bool = False) -> dict[str, Member]:
    """Returns an archive's arrays, which are those expected and no others.

    Args:
        path: the archive.
        expected: name -> dtype of an array of one dimension, or TEXT.
        stored: whether they must lie in the archive as they are, to be read at their places in the file.

    Raises:
        ValueError: they are others, of other types, or of sizes that do not fit the archive. The message ends a sentence.
        others of DAMAGED: it cannot be read, or is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        entries = _entries(archive)
        names = {f"{name}.npy": name for name in expected}
        if set(entries) != set(names):
            raise ValueError(f"it holds {', '.join(sorted(entries)) or 'nothing'}")
        packed, unpacked = (sum(getattr(e, size) for e in entries.values()) for size in ("compress_size", "file_size"))
        if unpacked > max(_SMALL, _MOST_UNPACKED * packed):
            raise ValueError(f"{packed} bytes of it would be {unpacked} in memory")
        found = {}
        for filename, name in names.items():
            with archive.open(filename) as file:
                shape, dtype = read_header(file)
                found[name] = Member(file.tell(), shape, dtype)
            _check(name, found[name], expected[name], entries[filename].file_size)
            if stored:
                found[name] = _placed(path, found[name], entries[filename])
    return found


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Reads the header of an .npy file; what follows is the array.

    Raises:
        ValueError: it is none.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            version = npy.read_magic(file)  # type: ignore[no-untyped-call]
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(file)  # type: ignore[no-untyped-call]
    except OSError:
        raise
    except Exception as error:  # NumPy parses it as Python, and passes on what that may raise
        raise ValueError(f"an array's header is damaged ({str(error)[:100]})") from error
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"an array is to have the shape {shape}"[:200])
    return shape, dtype


def check_stored(archive: zipfile.ZipFile, size: int) -> None:
    """Refuses an archive whose parts are compressed, or together larger than itself: a small file that fills the memory.

    Raises:
        ValueError: it is one. The message ends a sentence.
    """
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{entry.filename:.100} in it is compressed, which torch.save never does")
    if (total := sum(entry.file_size for entry in archive.infolist())) > size:
        raise ValueError(f"its parts are to have {total} bytes, and all of it has {size}")


def read_text(path: Path, name: str) -> str:
    """Returns a text of an archive; "" where it has none of that name, or none that is a short text.

    Raises:
        those of DAMAGED: it cannot be read, or is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        entry = _entries(archive).get(f"{name}.npy")
        if entry is None or entry.file_size > 16 * _LONGEST_TEXT:
            return ""
        with archive.open(entry) as file:
            shape, dtype = read_header(file)
            data = file.read()
    return str(np.frombuffer(data, dtype, 1)[0]) if dtype.kind == "U" and shape == () else ""


def _check(name: str, member: Member, dtype: Any, size: int) -> None:
    if dtype is TEXT:
        if member.dtype.kind != "U" or member.shape != () or member.dtype.itemsize > 4 * _LONGEST_TEXT:
            raise ValueError(f"{name} is no text")
    elif member.dtype != dtype or len(member.shape) != 1:
        raise ValueError(f"{name} is of type {member.dtype}, {len(member.shape)}-dimensional")
    count = member.shape[0] if member.shape else 1
    if member.first_byte + count * member.dtype.itemsize != size:
        raise ValueError(f"{name} is to have {count} elements, and does not")


def describe_error(error: Exception) -> str:
    """Returns what an error says of an archive, whose names and headers are part of it: short, and of one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    entries = {entry.filename: entry for entry in archive.infolist()}
    if len(entries) != len(archive.infolist()):
        raise ValueError("it holds two of the same name")
    for entry in entries.values():
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{entry.filename} is compressed in another way")
    return entries


def _placed(path: Path, member: Member, entry: zipfile.ZipInfo) -> Member:
    """Returns a member with its place in the file."""
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{entry.filename} is compressed")
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        name_length, extra_length = struct.unpack("<HH", file.read(30)[26:])  # of the local header, APPNOTE 4.3.7
        first_byte = entry.header_offset + 30 + name_length + extra_length + member.first_byte
        if first_byte + entry.file_size - member.first_byte > file.seek(0, 2):
            raise ValueError(f"{entry.filename} is cut short")
    return replace(member, first_byte=first_byte)
