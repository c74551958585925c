"""Parts of remote files, kept in a folder of this machine: bounded, shared by all ranks, whole after a kill.

Each file has a sparse copy, in which the blocks that have been read are filled in, and a map with a checksum for each of
them. A block counts once its checksum is in the map and fits: whoever is killed before leaves a block that is read again.
Ranks that fill in the same block write the same bytes. All of them count in one file what they add, before they do.
"""

import contextlib
import fcntl
import hashlib
import os
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from c2d_fast.errors import UserError
from c2d_fast.remote.remote_path import RemotePath, local_path

BLOCK_BYTES = 16 * 1024
_FILLED_TO = 0.9  # of the limit, by what was used longest ago
_PAGE = 4096  # what a file system keeps at least, of a copy and of its map
_MARK = "c2d-fast range cache\n"
_TOTAL = struct.Struct("<q")

Fetch = Callable[[RemotePath, int, int], Awaitable[Any]]

_in_use: list["RangeCache"] = []


def use(folder: str, max_bytes: int) -> None:
    """Has this process read through a cache from now on; of "" through none."""
    current = _in_use[0] if _in_use else None
    if current and (str(current.folder), current.max_bytes) == (folder, max_bytes):
        return
    _in_use[:] = [RangeCache(Path(folder), max_bytes)] if folder else []


def in_use() -> "RangeCache | None":
    """Returns the cache that this process reads through."""
    return _in_use[0] if _in_use else None


DEFAULT_GB = 50.0


def forget(path: RemotePath) -> None:
    """Deletes what the cache holds of a file: it has been read, and cannot be right."""
    if _in_use and path.state:
        _in_use[0].forget(path)


def open_cache(folder: str | os.PathLike[str] | None, gigabytes: float | None) -> tuple[str, int]:
    """Makes the folder of a cache and has this process read through it.

    Args:
        folder: of --cache; None: there is none.
        gigabytes: of --cache-gb: what it may take on the disk, in units of 10**9 bytes; None: DEFAULT_GB.

    Returns:
        What use() is to be called with in other processes.

    Raises:
        UserError: as check_folder, or a size is given for no folder.
    """
    if not folder:
        if gigabytes is not None:
            raise UserError(f"--cache-gb {gigabytes:g}: is the size of a cache; give its folder with --cache, or leave it out")
        use("", 0)
        return "", 0
    path = local_path(os.fspath(folder)).absolute()
    check_folder(path)
    cache = str(path), int((gigabytes or DEFAULT_GB) * 10**9)
    use(*cache)
    return cache


def check_folder(folder: Path) -> None:
    """Makes the folder of a cache.

    Raises:
        UserError: it cannot be made or written, or holds other things.
    """
    mark = folder / "CACHE"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Another rank may be making it just now.
        others = any(entry.name not in ("CACHE", "TOTAL") and not _is_shard(entry.name) for entry in os.scandir(folder))
        if others or (mark.exists() and mark.read_bytes() not in (b"", _MARK.encode())):
            raise UserError(
                f"--cache {folder}: holds other files, and a cache deletes what it needs no more; give a new folder"
            )
        if not mark.exists() or not mark.stat().st_size:
            mark.write_text(_MARK)
    except OSError as error:
        raise UserError(f"--cache {folder}: cannot be written ({error.strerror}); give another folder") from error


def _is_shard(name: str) -> bool:
    return len(name) == 2 and set(name) <= set("0123456789abcdef")


class RangeCache:
    """The folder of a cache."""

    def __init__(self, folder: Path, max_bytes: int):
        """Opens a folder that check_folder has made.

        Args:
            folder: where the copies are.
            max_bytes: what they may take on the disk, and what ranks are just writing while one makes room.
        """
        self.folder, self.max_bytes = folder, max_bytes

    async def read(self, path: RemotePath, start: int, end: int, fetch: Fetch) -> Any:
        """Returns bytes of a file that has a state; those that are not there are fetched, in whole blocks.

        A folder that cannot be read or written any more is gone without: the bytes are fetched.
        """
        state = path.state
        assert state is not None
        name = self._name(path)
        first, last = start // BLOCK_BYTES, -(-end // BLOCK_BYTES)
        data, there = self._read_blocks(name, first, last, state.size)
        missing = np.flatnonzero(~there)
        if len(missing):
            edges = np.flatnonzero(np.diff(missing) > 1)
            for group in np.split(missing, edges + 1):
                low = (first + int(group[0])) * BLOCK_BYTES
                high = min((first + int(group[-1]) + 1) * BLOCK_BYTES, state.size)
                fetched = await fetch(path, low, high)
                at = low - first * BLOCK_BYTES
                data[at : at + len(fetched)] = fetched
                self._write_blocks(name, first + int(group[0]), memoryview(fetched), state.size)
        offset = first * BLOCK_BYTES
        return memoryview(data)[start - offset : end - offset]

    def forget(self, path: RemotePath) -> None:
        """Deletes what there is of a file."""
        _delete(str(self._name(path)))

    def _name(self, path: RemotePath) -> Path:
        state = path.state
        digest = hashlib.sha256(
            f"{path.url}\n{state.size if state else 0}\n{state.mtime_ns if state else 0}".encode()
        ).hexdigest()
        return self.folder / digest[:2] / digest[2:34]

    def _read_blocks(self, name: Path, first: int, last: int, size: int) -> tuple[bytearray, Any]:
        """Returns the bytes of some blocks, and which of these are there: bool [blocks]."""
        data = bytearray(min(last * BLOCK_BYTES, size) - first * BLOCK_BYTES)
        there = np.zeros(last - first, bool)
        with contextlib.suppress(OSError):
            with open(name.with_suffix(".map"), "rb") as file:
                sums = os.pread(file.fileno(), 4 * (last - first), 4 * first)
            with open(name, "rb") as file:
                held = os.pread(file.fileno(), len(data), first * BLOCK_BYTES)
            data[: len(held)] = held
            for block in range(min(len(sums) // 4, -(-len(held) // BLOCK_BYTES))):
                (expected,) = struct.unpack_from("<I", sums, 4 * block)
                there[block] = expected and expected == _checksum(data[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES])
            os.utime(name)  # used now
        return data, there

    def _write_blocks(self, name: Path, first: int, data: memoryview, size: int) -> None:
        sums = b"".join(struct.pack("<I", _checksum(data[at : at + BLOCK_BYTES])) for at in range(0, len(data), BLOCK_BYTES))
        with contextlib.suppress(OSError):  # the disk is full, or gone
            if self._reserve(len(data)):
                name.parent.mkdir(exist_ok=True)
                _write_at(name, first * BLOCK_BYTES, data)
                _write_at(name.with_suffix(".map"), 4 * first, sums)

    def _reserve(self, size: int) -> bool:
        """Counts bytes that are about to be written; says whether there is room for them, which may have to be made."""
        size = (-(-size // _PAGE) + 2) * _PAGE  # with a page of the map; a little too much, which the next look sets right
        with self._total() as file:
            total = _read_total(file)
            if 0 <= total <= self.max_bytes - size:
                os.pwrite(file, _TOTAL.pack(total + size), 0)
                return True
        return size < self.max_bytes * (1 - _FILLED_TO) and self._evict(size)

    @contextlib.contextmanager
    def _total(self) -> Iterator[int]:
        """Gives the file that says how many bytes the folder takes, at most; one process at a time has it."""
        file = os.open(self.folder / "TOTAL", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)

    def _evict(self, size: int) -> bool:
        """Deletes what was used longest ago, if the folder holds too much, and counts a size in; by one process at a time.

        Returns:
            Whether there is room; not so while another rank is at it.
        """
        with open(self.folder / "CACHE", "rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            with self._total() as file:
                before = _read_total(file)
            held = self._held()
            total = sum(taken for _, taken in held.values())
            for name, (_, taken) in sorted(held.items(), key=lambda item: item[1]):
                if total <= self.max_bytes * _FILLED_TO:
                    break
                _delete(name)
                total -= taken
            with self._total() as file:
                meanwhile = max(_read_total(file) - max(before, 0), 0)  # others have added this, seen here or not
                os.pwrite(file, _TOTAL.pack(total + meanwhile + size), 0)
            return True

    def _held(self) -> dict[str, tuple[int, int]]:
        """Returns of each copy when it was used last, in ns, and what it takes on the disk with its map."""
        held: dict[str, tuple[int, int]] = {}
        for shard in os.scandir(self.folder):
            if _is_shard(shard.name):
                for entry in os.scandir(shard):
                    with contextlib.suppress(OSError):  # another rank has deleted it
                        status, name = entry.stat(), entry.path.removesuffix(".map")
                        used, taken = held.get(name, (0, 0))
                        used = max(used, status.st_mtime_ns if name == entry.path else 0)  # a map alone is of no use
                        held[name] = used, taken + 512 * status.st_blocks
        return held


def _delete(name: str) -> None:
    # The map first: without it nothing of the file counts.
    for gone in (f"{name}.map", name):
        with contextlib.suppress(OSError):
            os.unlink(gone)


def _read_total(file: int) -> int:
    """Returns what is counted in a file; -1: that is not known."""
    data = os.pread(file, _TOTAL.size, 0)
    return int(_TOTAL.unpack(data)[0]) if len(data) == _TOTAL.size else -1


def _checksum(data: Any) -> int:
    return zlib.crc32(data) or 1  # 0 stands for a block that is not there


def _write_at(path: Path, position: int, data: Any) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while len(data):
            done = os.pwrite(file, data, position)
            position, data = position + done, data[done:]
    finally:
        os.close(file)
