"""Sizes and modification times of files, asked of a storage that may be gone for a while."""

from collections.abc import Sequence
from pathlib import Path

from c2d_fast.video.reader import DecodeError
from c2d_fast.video.storage import is_definite, text_of_error
from c2d_fast.video.storage_wait import StorageWait, WaitPolicy, wait_for

_LOOKED_AT = 32


def file_state(path: Path) -> tuple[int, int] | None:
    """Returns a file's size in bytes and modification time in ns; None where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def file_states(
    files: Sequence[Path], wait_policy: WaitPolicy, *, wait_for_missing: bool = False, wait_for_all_missing: bool = False
) -> list[tuple[int, int] | None]:
    """Returns file_state of each file, once the storage gives them.

    Args:
        files: of a list.
        wait_policy: with the storage.
        wait_for_missing: whether it is also waited for files that do not exist, as far as there are no others beside them.
        wait_for_all_missing: whether it is waited for them where none exists.

    Raises:
        EndedError: the storage does not come back.
    """
    wait = StorageWait(wait_policy)
    while True:
        states = {i: state for i, file in enumerate(files) if (state := file_state(file))}
        gone = {str(file): error for i, file in enumerate(files) if i not in states and (error := _why_not_there(file))}
        waits = wait_for_missing or (wait_for_all_missing and not states)
        suspects = {path: text_of_error(error) for path, error in gone.items() if waits or not is_definite(error)}
        if not suspects:
            break
        some = dict(list(suspects.items())[:: -(-len(suspects) // _LOOKED_AT)])
        if wait_for(some, lambda: map(str, files), wait, whole=False):  # these are gone, and not the storage
            break
    wait.finish()
    return [states.get(i) for i in range(len(files))]


def _why_not_there(path: Path) -> OSError | None:
    try:
        path.stat()
    except OSError as error:
        return error
    except ValueError:  # no name that a file can have
        return None
    return None


def check_unchanged(path: Path, size: int, mtime_ns: int) -> None:
    """Compares a file with what is known of it: of another, frame numbers and boxes may be wrong without a sign.

    Args:
        path: of the file.
        size: in bytes, when it was examined.
        mtime_ns: when it had been written last; -1: that is not compared.

    Raises:
        DecodeError: it is another file now, or is gone.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise DecodeError(error.strerror or str(error)) from error
    if state.st_size != size:
        raise DecodeError(f"has changed since it was examined: {state.st_size} bytes now, {size} then")
    if mtime_ns not in (-1, state.st_mtime_ns):
        raise DecodeError("has changed since it was examined: its modification time is another")
