"""Tells what the storage does to a file from what is wrong with the video in it.

A file that cannot be opened, or not be read to its end, says nothing of its video: an NFS server may be starting again, a disk
not be mounted. Loader workers import this module: no torch, no DALI.
"""

import errno
import itertools
import os
import stat
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import av
import numpy as np

from c2d_fast.remote import range_cache, transfers
from c2d_fast.remote.remote_errors import ChangedError, RemoteError
from c2d_fast.remote.remote_path import Location, RemotePath, location
from c2d_fast.video.packets import WHOLE
from c2d_fast.video.reader import DecodeError, decode_images

T = TypeVar("T")

_SAYS_UNREAD = "cannot be read"
_OF_STORAGE = frozenset(
    getattr(errno, name)
    for name in (
        *("ENOENT", "ENOTDIR", "EACCES", "EIO", "ESTALE", "ETIMEDOUT", "ENODEV", "ENXIO", "EREMOTEIO", "EBUSY", "ENOLINK"),
        *("ENOLCK", "ENOKEY", "EKEYEXPIRED", "ENOTCONN", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH"),
        *("ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "ESHUTDOWN", "EMFILE", "ENFILE"),
    )
)
"""What an error must say to be the storage's where the file itself can be read by now."""
_DEFINITE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG})
"""What a storage says that is there."""
_AT_ONCE_S = (0.2, 1.0)
_ASKED = 4
_CHUNK = 2**20


def read_error(path: str | Location, *, whole: bool = True) -> OSError | None:
    """Reads a file to its end, or only its beginning; returns the storage's error, None if there is none.

    A folder is listed; what is no file and no folder is not opened: that might block for ever. Of a remote file the last byte
    is read: a server that sends that sends the others.
    """
    place = location(str(path))
    if isinstance(place, RemotePath):
        return _remote_error(place)
    try:
        mode = os.stat(place).st_mode
        if stat.S_ISDIR(mode):
            os.listdir(place)
        if not stat.S_ISREG(mode):
            return None
        file = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size, done = os.fstat(file).st_size, 0
            while chunk := os.read(file, _CHUNK):
                done += len(chunk)
                if not whole:
                    return None
        finally:
            os.close(file)
    except OSError as error:
        return error
    return OSError(errno.EIO, f"ends at byte {done} of {size}") if done < size else None


def storage_problem(error: BaseException, path: str | Location, others: Callable[[], Iterable[str]] = lambda: ()) -> str:
    """Returns what the storage has to do with it that a video was not read; "" where that is the video's own fault.

    Args:
        error: what was raised.
        path: of the video.
        others: gives files that lie beside it.
    """
    text = _storage_problem(error, path, others)
    if not text and isinstance(path, RemotePath):
        range_cache.forget(path)  # its bytes may have been wrong: who reads it again has them anew
    return text


def _storage_problem(error: BaseException, path: str | Location, others: Callable[[], Iterable[str]]) -> str:
    if problem := read_error(path):
        return text_of_error(problem)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RemoteError):
            return text_of_error(cause)
        if isinstance(cause, OSError) and cause.errno in _OF_STORAGE:
            # FFmpeg says EIO of some damaged files, too: if it decodes another one, this one is damaged.
            is_clear = cause.errno != errno.EIO or not isinstance(cause, av.FFmpegError)
            return text_of_error(cause) if is_clear or not any(map(storage_responds, others())) else ""
        cause = cause.__cause__
    return ""


def read_with_retry(read: Callable[[], T], path: str | Location) -> T:
    """Reads, and again after a moment if the storage has failed: what is over by then needs no more ado."""
    for pause_s in () if isinstance(location(str(path)), RemotePath) else _AT_ONCE_S:  # there each request is tried again
        try:
            return read()
        except (DecodeError, OSError, av.FFmpegError) as error:
            if not storage_problem(error, path):
                raise
        time.sleep(pause_s)
    return read()


def _remote_error(path: RemotePath) -> OSError | None:
    try:
        transfers.check_readable(path)
    except ChangedError:  # just now
        return None
    except RemoteError as error:
        return error
    return None


def is_storage_error(reason: str) -> bool:
    """Says whether a reason, as storage_problem gives it, is the storage's."""
    return reason.startswith(_SAYS_UNREAD)


def text_of_error(error: OSError) -> str:
    """Returns the reason, for a message that begins with the file."""
    return f"{_SAYS_UNREAD} ({error.strerror or error})"


def is_definite(error: OSError) -> bool:
    """Says whether an error is what a storage says that is there: no such file."""
    return error.errno in _DEFINITE


def storage_responds(path: str) -> bool:
    """Says whether the storage gives a file, whatever is in it; of a local one the first frame is decoded."""
    if isinstance(location(path), RemotePath):
        return read_error(path) is None
    try:
        decode_images(location(path), np.zeros(1, np.int64), 1, WHOLE)
    except DecodeError as error:
        return not storage_problem(error, path)
    return read_error(path, whole=False) is None


def nearby_files(path: str, files: Iterable[str]) -> list[str]:
    """Returns some of the files that lie nearest to one: in its folder, or else in the lowest folder that has others, too."""
    all_, folder = [file for file in files if file != path], os.path.dirname(path)
    while True:
        near = [file for file in all_ if file.startswith(folder.rstrip("/") + "/")]
        if near or folder == os.path.dirname(folder):
            return [near[i * len(near) // _ASKED] for i in range(min(_ASKED, len(near)))] if len(near) > _ASKED else near
        folder = os.path.dirname(folder)


def sibling_files(path: str | Location) -> list[str]:
    """Returns some other files of a file's folder; of a remote one none, since its server may not say."""
    if isinstance(path, RemotePath):
        return []
    try:
        with os.scandir(os.path.dirname(path) or ".") as entries:
            return [entry.path for entry in itertools.islice(entries, _ASKED + 1) if entry.name != os.path.basename(path)]
    except OSError:
        return []
