"""Checkpoints: written so that a crash leaves the one before, read without running anything in them."""

import os
import pickle
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from c2d_fast.errors import UserError

FORMAT = "c2d_fast.checkpoint/1"


def save(content: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint onto path: whole or not at all.

    Args:
        content: tensors, numbers, strings, lists and dicts only, so that it loads with weights_only=True.
        path: replaced only once the new file is on disk.

    Raises:
        UserError: the folder cannot be written or the disk is full; what stood at path still stands there.
    """
    partial = None
    try:
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".partial")
        with os.fdopen(handle, "wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    # torch reports a failed write, such as a full disk, as RuntimeError
    except (OSError, RuntimeError) as error:
        if partial is not None:
            Path(partial).unlink(missing_ok=True)
        raise UserError(f"checkpoint {path}: cannot be written ({error}); free the disk or give another --out") from error


def load(path: Path, what: str) -> dict[str, Any]:
    """Reads a checkpoint of ours onto the CPU.

    Args:
        path: the file.
        what: the flag that named it, for messages.

    Raises:
        UserError: there is no such file, or it is no checkpoint of ours.
    """
    content = read_file(path, what)
    if content.get("format") != FORMAT:
        raise UserError(f"{what} {path}: is not a c2d_fast checkpoint ({FORMAT}); give a last.pt or best.pt of a run folder")
    return content


def read_file(path: Path, what: str) -> dict[str, Any]:
    """Reads any dict that torch.save wrote, onto the CPU; nothing in the file can run (weights_only=True).

    Raises:
        UserError: there is no such file, it is damaged, or it holds something else.
    """
    if not path.is_file():
        raise UserError(f"{what} {path}: no such file")
    try:
        with warnings.catch_warnings(action="ignore"):  # on odd pickles; the error below says enough
            content = torch.load(path, map_location="cpu", weights_only=True)
    # What torch.load raises for a file that is none of its own is not documented; these are what it was seen to raise.
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        # Torch's own text goes on to advise weights_only=False, which runs whatever the file says.
        reason = str(error).partition("\n")[0].partition(". ")[0][:120]
        raise UserError(f"{what} {path}: is damaged or holds more than tensors and plain values ({reason})") from error
    if not isinstance(content, dict):
        raise UserError(f"{what} {path}: holds a {type(content).__name__}, not a checkpoint's dict")
    return content


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
