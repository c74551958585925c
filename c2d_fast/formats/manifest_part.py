"""Parts of a manifest: what one of several machines has done of a list. `prepare merge` joins them."""

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from c2d_fast.formats.schemas import ShapeError, decode
from c2d_fast.remote.remote_path import RemotePath

LocationT = TypeVar("LocationT", Path, RemotePath, Path | RemotePath)

_NAME = re.compile(r"\.part-([1-9]\d{0,5})-of-([1-9]\d{0,5})")
_MOST_BYTES = 2**16


@dataclass(frozen=True)
class _Head:
    number: int
    """From 1."""
    count: int
    """Parts that the list is in."""
    total: int
    """Rows of the list."""
    settings: dict[str, str]
    """What the parts that belong together have in common: the command, and its flags that decide about the result."""


@dataclass(frozen=True)
class Part(_Head):
    """Which rows of its list a manifest has, if not all."""

    rows: NDArray[np.int64]
    """Ascending, [rows of the part]."""

    def __str__(self) -> str:
        return f"part {self.number} of {self.count}"

    def columns(self) -> dict[str, NDArray[Any]]:
        """Returns what a manifest's file has of it."""
        head = {field.name: getattr(self, field.name) for field in fields(_Head)}
        return {"part": np.frombuffer(json.dumps(head).encode(), np.uint8), "rows": self.rows}


MEMBERS = {"part": np.dtype(np.uint8), "rows": np.dtype(np.int64)}
"""Of the archive, as archive_members.check_members takes them."""


def read_part(part: NDArray[np.uint8], rows: NDArray[np.int64]) -> Part:
    """Returns a part of its columns.

    Raises:
        ValueError: they are none. The message ends a sentence.
    """
    head = decode(part.tobytes(), _Head, _MOST_BYTES)
    is_within = 1 <= head.number <= head.count and head.total < 2**40
    if not is_within or (len(rows) and (rows[0] < 0 or rows[-1] >= head.total or (np.diff(rows) <= 0).any())):
        raise ShapeError("its rows are not those of a part")
    return Part(**vars(head), rows=rows)


def part_path(manifest: LocationT, number: int, count: int) -> LocationT:
    """Returns the name of a part of a manifest."""
    return manifest.with_name(f"{manifest.stem}.part-{number}-of-{count}{manifest.suffix}")


def part_in_name(name: str, manifest: LocationT) -> tuple[int, int] | None:
    """Returns number and count of the part of a manifest that a file's name says it is, or None."""
    inner = name.removeprefix(manifest.stem).removesuffix(manifest.suffix)
    found = _NAME.fullmatch(inner) if len(inner) == len(name) - len(manifest.stem) - len(manifest.suffix) else None
    return (int(found[1]), int(found[2])) if found else None
