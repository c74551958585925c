"""Which files these are: their sizes, and when they were written or what their servers call them.

Asked of a storage that may be gone for a while.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from c2d_fast.remote import transfers
from c2d_fast.remote.remote_errors import ChangedError
from c2d_fast.remote.remote_path import UNKNOWN, FileState, Location, RemotePath
from c2d_fast.video.reader import DecodeError, reason
from c2d_fast.video.storage import is_definite, text_of_error
from c2d_fast.video.storage_wait import StorageWait, WaitPolicy, wait_for

_LOOKED_AT = 32


def file_state(path: Location) -> FileState | None:
    """Returns which file this is; None where there is none, or its server does not say."""
    state = _state_or_error(path)
    return state if isinstance(state, FileState) else None


def state_of(path: Location) -> FileState:
    """Returns the state that a path says a remote file must be in, or else which file is there now; UNKNOWN if none is."""
    known = path.state if isinstance(path, RemotePath) else None
    return known or file_state(path) or UNKNOWN


def _state_or_error(path: Location) -> FileState | OSError | None:
    """Returns a file's state or why there is none; None of what is no name that a file can have."""
    try:
        if isinstance(path, RemotePath):
            return transfers.file_state(path)
        status = path.stat()
    except OSError as error:
        return error
    except ValueError:
        return None
    return FileState(status.st_size, status.st_mtime_ns)


def _states_or_errors(files: Sequence[Location]) -> list[FileState | OSError | None]:
    """Returns _state_or_error of each file; remote ones are asked for many at a time."""
    remote = [file for file in files if isinstance(file, RemotePath)]
    found = dict(zip((file.url for file in remote), transfers.file_states(remote), strict=True))
    return [found[file.url] if isinstance(file, RemotePath) else _state_or_error(file) for file in files]


def file_states(
    files: Sequence[Location], wait_policy: WaitPolicy, *, wait_for_missing: bool = False, wait_for_all_missing: bool = False
) -> list[FileState | None]:
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
    known: list[FileState | OSError | None] = [None] * len(files)
    todo = list(range(len(files)))
    while True:
        for i, state in zip(todo, _states_or_errors([files[i] for i in todo]), strict=True):
            known[i] = state
        gone = {i: error for i, error in enumerate(known) if isinstance(error, OSError)}
        waits = wait_for_missing or (wait_for_all_missing and not any(isinstance(state, FileState) for state in known))
        suspects = {i: error for i, error in gone.items() if waits or not is_definite(error)}
        if not suspects:
            break
        some = list(suspects.items())[:: -(-len(suspects) // _LOOKED_AT)]
        texts = {str(files[i]): text_of_error(error) for i, error in some}
        if wait_for(texts, lambda: map(str, files), wait, whole=False):  # these are gone, and not the storage
            break
        todo = list(suspects)
    wait.finish()
    return [state if isinstance(state, FileState) else None for state in known]


@contextmanager
def local_file(path: Location, tick: Callable[[], object]) -> Iterator[Path]:
    """Gives a file itself, or of a remote one a copy on this machine, while it is read more than once.

    Args:
        path: of the file; a remote one is asked for in its state.
        tick: called again and again.

    Raises:
        DecodeError: a remote file cannot be read, or is another now.
    """
    if not isinstance(path, RemotePath):
        yield path
        return
    with ExitStack() as stack:
        try:
            copy = stack.enter_context(transfers.local_copy(path, tick))
        except (OSError, ChangedError) as error:
            raise DecodeError(reason(error)) from error
        yield copy


def check_unchanged(path: Location, size: int, mtime_ns: int) -> None:
    """Compares a file with what is known of it: of another, frame numbers and boxes may be wrong without a sign.

    Args:
        path: of the file.
        size: in bytes, when it was examined.
        mtime_ns: when it had been written last; -1: that is not compared.

    Raises:
        DecodeError: it is another file now, or is gone.
    """
    if isinstance(path, RemotePath):  # each answer says what it is of
        return
    try:
        state = path.stat()
    except OSError as error:
        raise DecodeError(error.strerror or str(error)) from error
    if state.st_size != size:
        raise DecodeError(f"has changed since it was examined: {state.st_size} bytes now, {size} then")
    if mtime_ns not in (-1, state.st_mtime_ns):
        raise DecodeError("has changed since it was examined: its modification time is another")
