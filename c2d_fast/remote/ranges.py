"""The parts of a remote file that a clip needs: parts that lie close together in one request, the requests side by side.

A worker asks for those of its next samples before it decodes the one at hand (ask_ahead): the time that an answer takes is
then not waited for.
"""

import itertools
import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.remote import event_loop, range_cache
from c2d_fast.remote.remote_path import RemotePath
from c2d_fast.remote.requests import read_part

BRIDGED_BYTES = 64 * 1024
"""A gap between two parts that is read with them: it takes less time than another request (docs/remote.md)."""
LARGEST_BYTES = 8 * 2**20
"""Of a request; larger parts are read by several, side by side."""
_MOST_AHEAD = 64  # samples; of one that is never read the bytes are let go of
_MOST_BYTES_AHEAD = 256 * 2**20  # of a process; videos so large that its samples need more are asked for when they are read

Parts = Sequence[tuple[int, int]]
"""First byte, and byte behind the last, of each part of a file."""


def bridged(positions: NDArray[np.int64], sizes: NDArray[np.int64], bridge: int) -> list[tuple[int, int, int, int]]:
    """Puts stretches of a file that lie close together into one part.

    Args:
        positions: first byte of each stretch, int64 [stretches], in the order in which they are wanted.
        sizes: bytes of each.
        bridge: the longest gap that is read with what lies around it.

    Returns:
        Of each part its first byte and the byte behind its last, its first stretch and the one behind its last.
    """
    ends = positions + sizes
    is_far = (positions[1:] > ends[:-1] + bridge) | (positions[1:] < positions[:-1])
    firsts = np.flatnonzero(np.concatenate([[True], is_far]))
    lasts = np.append(firsts[1:], len(positions))
    starts, tops = positions[firsts], np.maximum.reduceat(ends, firsts)
    return list(zip(starts.tolist(), tops.tolist(), firsts.tolist(), lasts.tolist(), strict=True))


def read_parts(path: RemotePath, parts: Parts) -> list[Any]:
    """Reads parts of a file; those that have been asked for ahead may be there already.

    Args:
        path: of the file; where it has a state, of no other file.
        parts: of it.

    Returns:
        A buffer of each part's bytes.

    Raises:
        RemoteError: it cannot be read.
        ChangedError: it is another file now.
        OSError: it ends before.
    """
    ahead, key = _ahead(os.getpid()), _key(path, parts)
    asked = ahead.get(key)
    if asked is None:
        return event_loop.wait(event_loop.submit(read(path, parts)))
    asked.readers -= 1
    if not asked.readers:
        del ahead[key]
    try:
        return event_loop.wait(asked.future)
    except BaseException:
        ahead.pop(key, None)  # who reads it next asks again
        raise


def ask_ahead(path: RemotePath, parts: Parts) -> None:
    """Asks for parts that will be read soon, once for each time that they will. What fails is told when they are read."""
    ahead, key = _ahead(os.getpid()), _key(path, parts)
    if asked := ahead.get(key):  # by another sample of the same frames: one request does for both
        asked.readers += 1
        return
    if sum(end - start for _, known in (*ahead, key) for start, end in known) > _MOST_BYTES_AHEAD:
        return
    ahead[key] = _Asked(event_loop.submit(read(path, parts)))
    while len(ahead) > _MOST_AHEAD:
        ahead.popitem(last=False)[1].future.cancel()


def forget_ahead() -> None:
    """Ends all requests of this process that were made ahead."""
    ahead = _ahead(os.getpid())
    while ahead:
        ahead.popitem()[1].future.cancel()


@dataclass
class _Asked:
    """What has been asked for ahead, and how many times it will be read."""

    future: "Future[list[Any]]"
    readers: int = 1


@lru_cache(maxsize=1)
def _ahead(pid: int) -> OrderedDict[Any, _Asked]:
    del pid  # a fork has none of its parent's requests
    return OrderedDict()


def _key(path: RemotePath, parts: Parts) -> tuple[Any, ...]:
    return path, tuple(parts)


async def read(path: RemotePath, parts: Parts) -> list[Any]:
    """Reads parts of a file, side by side. As read_parts."""
    return await event_loop.gather(_part(path, start, end) for start, end in parts)


async def _part(path: RemotePath, start: int, end: int) -> Any:
    if path.state and 0 <= path.state.size < end:  # no answer can have that: as a local file that is too short
        raise OSError(f"ends at byte {path.state.size}, within a packet")
    cache = range_cache.in_use()
    if cache and path.state:
        return await cache.read(path, start, end, _from_server)
    return await _from_server(path, start, end)


async def _from_server(path: RemotePath, start: int, end: int) -> Any:
    if end - start <= LARGEST_BYTES:
        return await read_part(path, start, end)
    cuts = [*range(start, end, LARGEST_BYTES), end]
    pieces = await event_loop.gather(read_part(path, a, b) for a, b in itertools.pairwise(cuts))
    return memoryview(b"".join(pieces))
