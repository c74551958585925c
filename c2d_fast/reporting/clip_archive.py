"""Writes clips, and what is known of them, as NumPy arrays in one file, which may be larger than the memory. No torch."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write

_COLUMNS = ("path", "label", "index", "view")


def check_space(path: Path, num_bytes: int) -> None:
    """Says early that clips of so many bytes do not fit the disk.

    Raises:
        UserError: they do not.
    """
    free = shutil.disk_usage(path.parent).free
    if 2 * num_bytes > free:  # the clips stand there twice while the archive is written
        raise UserError(
            f"--npz {path}: {num_bytes / 1e9:.1f} GB of clips need twice that on disk, and {free / 1e9:.1f} GB are free; "
            "write fewer with --limit"
        )


def write_archive(path: Path, rows: Iterator[tuple[Any, dict[str, Any]]], shape: tuple[int, ...], facts: dict[str, Any]) -> int:
    """Writes the archive, whole or not at all; the clips go through a file, they may be more than the memory holds.

    Args:
        path: ends in .npz.
        rows: clips, uint8 of the shape, and of each its path, label, index and view.
        shape: of every clip.
        facts: plain values, each an array of its own.

    Returns:
        How many clips there were.

    Raises:
        UserError: it cannot be written.
    """
    table: list[dict[str, Any]] = []
    try:
        with (
            atomic_write(path) as partial,
            tempfile.TemporaryFile(dir=path.parent) as clips,
            zipfile.ZipFile(partial, "w") as archive,
        ):
            for clip, row in rows:
                assert clip.shape == shape
                clips.write(np.ascontiguousarray(clip).data)
                table.append(row)
            clips.seek(0)
            with archive.open("clips.npy", "w", force_zip64=True) as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(table), *shape)}
                np.lib.format.write_array_header_1_0(file, header)
                shutil.copyfileobj(clips, file, 2**20)
            for name in _COLUMNS:
                _add(archive, name, np.array([row[name] for row in table]))
            for name, value in facts.items():
                _add(archive, name, np.array(value))
    except OSError as error:
        raise UserError(f"--npz {path}: cannot be written ({error.strerror}); free the disk or give another file") from error
    return len(table)


def _add(archive: zipfile.ZipFile, name: str, array: Any) -> None:
    with archive.open(f"{name}.npy", "w") as file:
        np.lib.format.write_array(_as_io(file), array, allow_pickle=False)


def _as_io(file: IO[bytes]) -> Any:
    return file  # NumPy's annotation wants a file on disk; it only calls write()
