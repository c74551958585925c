"""One run in a folder at a time."""

import contextlib
import fcntl
import json
import os
import platform
import time
from pathlib import Path
from typing import Self, TextIO

from c2d_fast.errors import UserError
from c2d_fast.formats.schemas import LockOwner, ShapeError, decode

_NAME = "run.lock"
_MOST_BYTES = 4096


class FolderLock:
    """A context manager: what is taken is held until its end, or that of this process, however it ends; the file may stay."""

    def __init__(self) -> None:
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            with contextlib.suppress(OSError):  # a disk that is full
                self._file.close()

    @property
    def is_held(self) -> bool:
        """Says whether a folder's lock has been taken."""
        return self._file is not None

    def take(self, folder: Path) -> None:
        """Takes the lock of a folder that exists.

        Raises:
            UserError: another process has it, or the folder cannot be written.
        """
        try:
            file = open(folder / _NAME, "a+")  # noqa: SIM115  # held open
        except OSError as error:
            raise UserError(f"--out {folder}: cannot be written to ({error.strerror}); give another folder") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = _owner(folder / _NAME)
            file.close()
            raise UserError(
                f"--out {folder}: another run writes there now{who}; wait for it or end it, or give another folder"
            ) from None
        except OSError:  # a file system without locks
            print(f"note: {folder} is on a file system without locks: take care that no two runs write there")
        self._file = file
        try:
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%F %T")}) + "\n")
            file.flush()
        except OSError as error:
            raise UserError(f"--out {folder}: cannot be written to ({error.strerror}); give another folder") from error


def _owner(path: Path) -> str:
    try:
        with path.open("rb") as file:
            owner = decode(file.read(_MOST_BYTES), LockOwner)
    except (OSError, ShapeError):
        return ""
    return f" (process {owner.pid} on {owner.host}, since {owner.since})"
