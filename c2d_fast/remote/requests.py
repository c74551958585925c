"""One request: how often it is tried and how long, and that the answer is of the file that was examined."""

import asyncio
import errno
import os
import random
import time
from functools import lru_cache
from typing import Any

from c2d_fast.processes import worker_counts
from c2d_fast.remote.remote_errors import THROTTLED, ChangedError, RemoteError
from c2d_fast.remote.remote_path import FileState, RemotePath
from c2d_fast.remote.stores import store_of
from c2d_fast.remote.throttle import Throttle

RETRY_LIMIT_S = 20.0
"""From here on a request that fails is not tried again; who waits for a storage that is gone asks again later."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_QUICK_TRIES = 3  # even where the first of them have taken all the time


async def read_part(path: RemotePath, start: int, end: int, *, retry: bool = True) -> Any:
    """Reads bytes of a file: a buffer of end - start bytes.

    Args:
        path: of the file; where it has a state, of no other file.
        start: first byte.
        end: byte behind the last.
        retry: whether to try more than once.

    Raises:
        RemoteError: it cannot be read, after several tries.
        ChangedError: it is another file now.
    """
    store, wanted = store_of(path), path.state

    async def once() -> Any:
        data, state = await store.part(path.key, start, end, wanted.etag if wanted else "")
        worker_counts.add_remote(size=len(data))
        if wanted:
            check_state(wanted, state)
        if len(data) != end - start:
            raise RemoteError(errno.ECONNRESET, f"ended after {len(data)} of {end - start} bytes")
        return data

    return await _with_retry(once, limit_s=RETRY_LIMIT_S if retry else 0.0)


async def read_state(path: RemotePath, *, retry: bool = True) -> FileState:
    """Asks which file is there now.

    Raises:
        RemoteError: there is none, or it cannot be asked.
    """
    store = store_of(path)
    state: FileState = await _with_retry(lambda: store.state(path.key), limit_s=RETRY_LIMIT_S if retry else 0.0)
    return state


async def with_retry(call: Any) -> Any:
    """Awaits what call() returns, again and again while it raises RemoteError that may pass."""
    return await _with_retry(call, RETRY_LIMIT_S)


def check_state(wanted: FileState, found: FileState) -> None:
    """Compares a file with the one that was examined.

    Raises:
        ChangedError: it is another.
    """
    if wanted.size not in (-1, found.size):
        raise ChangedError(f"has changed since it was examined: {found.size} bytes now, {wanted.size} then")
    if wanted.mtime_ns not in (-1, found.mtime_ns):
        raise ChangedError("has changed since it was examined: its ETag is another")


async def _with_retry(call: Any, limit_s: float) -> Any:
    began_s, tries, throttle = time.monotonic(), 0, _throttle(os.getpid())
    while True:
        tries += 1
        async with throttle:
            worker_counts.add_remote(requests=1, retries=int(tries > 1))
            try:
                answer = await call()
            except RemoteError as error:
                if error.status in THROTTLED:
                    throttle.slow_down()
                late = time.monotonic() - began_s >= limit_s and (tries >= _QUICK_TRIES or not limit_s)
                if not error.may_pass or late:
                    raise
            else:
                throttle.answered()
                return answer
        # Full jitter: those that failed together do not ask again together.
        longest_s = min(_FIRST_PAUSE_S * 2 ** min(tries, 10), _LONGEST_PAUSE_S)
        await asyncio.sleep(random.uniform(longest_s / 4, longest_s))


@lru_cache(maxsize=1)
def _throttle(pid: int) -> Throttle:
    del pid  # a fork has an event loop of its own
    return Throttle()
