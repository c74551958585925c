"""Checkpoints: written so that a crash leaves the one before, read without running anything in them."""

import contextlib
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from c2d_fast.errors import UserError
from c2d_fast.formats.archive_members import DAMAGED, check_stored
from c2d_fast.formats.schemas import Position, Row, ShapeError, check_plain, convert
from c2d_fast.model.inert_pickle import refuse_bombs

FORMAT = "c2d_fast.checkpoint/2"
_GOOD = "a last.pt or best.pt of a run folder, or a published file"
_SHAPES: dict[str, Any] = {"progress": Position, "left_out_rows": list[Row], "tally": list[float], "scaler": dict[str, float]}


def save(content: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint onto path: whole or not at all.

    Args:
        content: tensors, numbers, strings, lists and dicts only, so that it loads with weights_only=True.
        path: replaced only once the new file is on disk.

    Raises:
        UserError: the folder cannot be written or the disk is full; what stood at path still stands there.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        # By name: through a Python file, Ctrl-C while it is written would come out as a RuntimeError.
        torch.save({"format": FORMAT, **content}, partial)
        sync(partial)
        os.replace(partial, path)
        sync(path.parent)
    # torch reports a failed write, such as a full disk, as RuntimeError
    except (OSError, RuntimeError) as error:
        raise UserError(f"checkpoint {path}: cannot be written ({error}); free the disk or give another --out") from error
    finally:
        _remove(partial)


def load(path: Path, what: str) -> dict[str, Any]:
    """Reads a checkpoint of ours onto the CPU.

    Args:
        path: the file.
        what: the flag that named it, for messages.

    Raises:
        UserError: there is no such file, or it is no checkpoint of ours.
    """
    verify_checksums(path, what)
    content = read_file(path, what)
    if content.get("format") != FORMAT:
        raise UserError(
            f"{what} {path}: is not a c2d_fast checkpoint of this version ({FORMAT}); give a last.pt or best.pt of a run folder"
        )
    check_parts(content, f"{what} {path}")
    for name, kind in _SHAPES.items():
        try:
            if name in content:
                convert(content[name], kind)
        except ShapeError as error:
            raise UserError(f"{what} {path}: its {name} is not of a run ({error}); give another checkpoint") from error
    return content


def check_parts(content: dict[str, Any], what: str) -> None:
    """Checks that a checkpoint of ours has all its parts.

    Raises:
        UserError: one is missing.
    """
    parts = [name for name in ("model", "optimizer", "scaler", "progress", "recipe") if not isinstance(content.get(name), dict)]
    if parts or not isinstance(content["model"].get("fc.bias"), torch.Tensor):
        raise UserError(f"{what}: lacks {', '.join(parts) or 'fc.bias'}; give a last.pt or best.pt of a run folder")


def read_file(path: Path, what: str) -> dict[str, Any]:
    """Reads any dict that torch.save wrote, onto the CPU; nothing in the file can run (weights_only=True).

    Raises:
        UserError: there is no such file, it is damaged, or it holds something else.
    """
    if not os.path.isfile(path):
        problem = "is a folder, give a file in it" if os.path.isdir(path) else "no such file; correct the path"
        raise UserError(f"{what} {path}: {problem}")
    if os.path.getsize(path) == 0:
        raise UserError(f"{what} {path}: is damaged, it is empty; give {_GOOD}")
    try:
        refuse_bombs(path)
        with warnings.catch_warnings(action="ignore"):  # on odd pickles; the error below says enough
            content = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged or hostile file may make torch.load raise anything; TypeError was seen.
    except Exception as error:
        # Torch's own text goes on to advise weights_only=False, which runs whatever the file says.
        reason = str(error).partition("\n")[0].partition(". ")[0][:120]
        why = f" ({reason})" if " " in reason and reason != "Weights only load failed" else ""
        raise UserError(
            f"{what} {path}: is no checkpoint, is damaged or holds more than tensors and plain values{why}; give {_GOOD}"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{what} {path}: holds a {type(content).__name__}, not a checkpoint's dict")
    try:
        check_plain(content)
    except ShapeError as error:
        raise UserError(f"{what} {path}: is damaged, or no checkpoint ({error}); give {_GOOD}") from error
    return content


def verify_checksums(path: Path, what: str) -> None:
    """Compares a file with its checksums, which torch.load does not: a flipped bit would become a weight.

    Raises:
        UserError: it does not match them, or is no archive.
    """
    with contextlib.suppress(OSError):  # what cannot be opened is said by who reads it
        try:
            with zipfile.ZipFile(path) as archive:
                check_stored(archive, path.stat().st_size)
                damaged = archive.testzip()
        except OSError:
            raise
        except DAMAGED as error:
            raise UserError(f"{what} {path}: is damaged or no checkpoint ({error!s:.120}); give another one") from error
        if damaged:
            raise UserError(f"{what} {path}: is damaged ({damaged} does not match its checksum); give another one")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # mostly not there: it has been given its final name
        path.unlink()


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
