"""One run in a folder at a time."""

import contextlib
import fcntl
import json
import os
import platform
import time
from pathlib import Path

from c2d_fast.errors import UserError
from c2d_fast.formats.schemas import LockOwner, ShapeError, decode

_NAME = "run.lock"
_MOST_BYTES = 4096


class FolderLock:
    """Held until close() or the end of this process, however it ends: the system lets go of it, and the file may stay."""

    def __init__(self, folder: Path):
        """Takes the lock of a folder that exists.

        Raises:
            UserError: another process has it, or the folder cannot be written.
        """
        try:
            self._file = open(folder / _NAME, "a+")  # noqa: SIM115  # held open
        except OSError as error:
            raise UserError(f"--out {folder}: cannot be written to ({error.strerror}); give another folder") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = _owner(folder / _NAME)
            self._file.close()
            raise UserError(
                f"--out {folder}: another run writes there now{who}; wait for it or end it, or give another folder"
            ) from None
        except OSError:  # a file system without locks
            print(f"note: {folder} is on a file system without locks: take care that no two runs write there")
        try:
            self._file.truncate(0)
            self._file.write(json.dumps({"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%F %T")}) + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"--out {folder}: cannot be written to ({error.strerror}); give another folder") from error

    def close(self) -> None:
        """Lets go of it."""
        with contextlib.suppress(OSError):  # by closing alone a child that is just being started would keep it
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._file.close()


def _owner(path: Path) -> str:
    try:
        with path.open("rb") as file:
            owner = decode(file.read(_MOST_BYTES), LockOwner)
    except (OSError, ShapeError):
        return ""
    return f" (process {owner.pid} on {owner.host}, since {owner.since})"
