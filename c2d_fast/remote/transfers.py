"""Whole remote files: states of many, downloads, uploads, listings."""

import asyncio
import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from c2d_fast.errors import UserError
from c2d_fast.remote import event_loop
from c2d_fast.remote.ranges import LARGEST_BYTES, read_parts
from c2d_fast.remote.remote_errors import RemoteError
from c2d_fast.remote.remote_path import FileState, RemotePath
from c2d_fast.remote.requests import read_part, read_state, with_retry
from c2d_fast.remote.stores import store_of

_SIDE_BY_SIDE = 4  # parts of a download
_STATES_AT_A_TIME = 256
_ASKED_LIMIT_S = 5.0


def file_state(path: RemotePath, *, retry: bool = True) -> FileState:
    """Asks which file is there.

    Raises:
        RemoteError: there is none, or it cannot be asked.
    """
    return event_loop.run(read_state(path, retry=retry))


def check_readable(path: RemotePath) -> None:
    """Asks which file is there, and for its last byte; once, and not for long: who calls this asks again later.

    Raises:
        RemoteError: it cannot be read now.
    """

    async def ask() -> None:
        state = await read_state(path, retry=False)
        if state.size:
            await read_part(RemotePath(path.url, state), state.size - 1, state.size, retry=False)

    async def ask_for_a_while() -> None:
        try:
            await asyncio.wait_for(ask(), _ASKED_LIMIT_S)
        except TimeoutError:
            raise RemoteError(errno.ETIMEDOUT, "no answer in time") from None

    event_loop.run(ask_for_a_while())


def file_states(paths: Sequence[RemotePath]) -> list[FileState | RemoteError]:
    """Asks for the states of files, many at a time; of one that has none returns why."""

    async def ask(path: RemotePath) -> FileState | RemoteError:
        try:
            return await read_state(path)
        except RemoteError as error:
            return error

    async def ask_all(some: Sequence[RemotePath]) -> list[FileState | RemoteError]:
        return await event_loop.gather(map(ask, some))

    found: list[FileState | RemoteError] = []
    for first in range(0, len(paths), _STATES_AT_A_TIME):
        found += event_loop.run(ask_all(paths[first : first + _STATES_AT_A_TIME]))
    return found


def exists(path: RemotePath) -> bool:
    """Says whether there is such a file.

    Raises:
        RemoteError: its server does not say.
    """
    try:
        file_state(path)
    except RemoteError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def has_files(path: RemotePath) -> bool:
    """Says whether there are files below a path; of a server that gives no listings never.

    Raises:
        RemoteError: it cannot be listed.
    """
    store, prefix = store_of(path), f"{path.key}/" if path.key else ""

    async def first() -> bool:
        async for key, _ in store.list(path.key):
            if key.startswith(prefix):
                return True
        return False

    return store.lists and bool(event_loop.run(with_retry(first)))


def with_state(path: RemotePath) -> RemotePath:
    """Returns a path that has a state: what is read of it is of one file, whatever becomes of it meanwhile."""
    return path if path.state and path.state.size >= 0 else RemotePath(path.url, file_state(path))


def read_bytes(path: RemotePath) -> Any:
    """Reads a file whole: a buffer of its bytes. Raises as ranges.read_parts."""
    path = with_state(path)
    assert path.state is not None
    return read_parts(path, [(0, path.state.size)])[0] if path.state.size else b""


def download(path: RemotePath, target: Path, heartbeat: Callable[[], object] = lambda: None) -> None:
    """Writes a file to the disk, each of its bytes asked for once.

    Args:
        path: of the file.
        target: the local file.
        heartbeat: called again and again.

    Raises:
        RemoteError, ChangedError: it cannot be read.
        OSError: the local file cannot be written.
    """
    path = with_state(path)
    assert path.state is not None
    size = path.state.size

    async def piece(start: int) -> Any:
        return await read_part(path, start, min(start + LARGEST_BYTES, size))

    async def pieces(starts: Sequence[int]) -> list[Any]:
        return await event_loop.gather(map(piece, starts))

    starts = range(0, size, LARGEST_BYTES)
    with target.open("wb") as file:
        for first in range(0, len(starts), _SIDE_BY_SIDE):
            for data in event_loop.run(pieces(starts[first : first + _SIDE_BY_SIDE]), heartbeat):
                file.write(data)


@contextlib.contextmanager
def local_copy(path: RemotePath, heartbeat: Callable[[], object] = lambda: None) -> Iterator[Path]:
    """Gives a copy of a file on this machine's disk (in TMPDIR), which goes away at the end. Raises as download."""
    with tempfile.TemporaryDirectory(prefix="c2d-fast-") as folder:
        copy = Path(folder, "video" + path.suffix)
        download(path, copy, heartbeat)
        yield copy


def upload(source: Path, path: RemotePath) -> None:
    """Writes a local file there, whole or not at all.

    Raises:
        RemoteError: it cannot be written.
    """
    store = store_of(path)
    event_loop.run(with_retry(lambda: store.put(path.key, str(source))))


def delete(path: RemotePath) -> None:
    """Deletes a file, if it is there.

    Raises:
        RemoteError: it cannot be deleted.
    """
    store = store_of(path)
    try:
        event_loop.run(with_retry(lambda: store.delete(path.key)))
    except RemoteError as error:
        if error.errno != errno.ENOENT:
            raise


def list_files(path: RemotePath) -> list[tuple[str, FileState]]:
    """Returns the files below a path: names relative to it, sorted, with their states.

    Raises:
        UserError: its server gives no listings.
        RemoteError: it cannot be listed.
    """
    store, prefix = store_of(path), f"{path.key}/" if path.key else ""
    if not store.lists:
        raise UserError(f"{path}: web servers give no listings; give a list file or a manifest")

    async def collect() -> list[tuple[str, FileState]]:
        return [(key[len(prefix) :], state) async for key, state in store.list(path.key) if key.startswith(prefix)]

    return sorted(event_loop.run(with_retry(collect)))


def cached_copy(path: RemotePath, folder: Path) -> Path:
    """Returns a copy of a file in a folder of this machine that stays there, made if it is not there yet. Raises as download.

    Args:
        path: of a file that is read anew by each run, such as a manifest.
        folder: where copies are kept.
    """
    path = with_state(path)
    assert path.state is not None
    copy = folder / f"{path.state.mtime_ns:016x}-{path.state.size}" / path.name
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        partial = copy.with_name(f".{copy.name}.{os.getpid()}.partial")
        try:
            download(path, partial)
            os.replace(partial, copy)
        finally:
            partial.unlink(missing_ok=True)
    return copy
