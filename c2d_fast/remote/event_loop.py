"""The thread that all requests of a process run in: many at a time, and none that keeps the process from ending."""

import asyncio
import atexit
import errno
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent import futures
from concurrent.futures import Future
from typing import Any, TypeVar

from c2d_fast.processes.signals import end_if_stopped
from c2d_fast.remote.remote_errors import RemoteError

T = TypeVar("T")

_SLICE_S = 0.2
_END_LIMIT_S = 1.0
_SETTLE_S = 0.1
_lock = threading.Lock()
_running: list[tuple[int, asyncio.AbstractEventLoop]] = []  # of which process, and the loop; one at most


def submit(work: Coroutine[Any, Any, T]) -> "Future[T]":
    """Starts work in the thread; its result can be waited for, or it can be cancelled, which ends its requests."""
    try:
        return asyncio.run_coroutine_threadsafe(work, _loop())
    except RuntimeError:
        work.close()
        raise


def run(work: Coroutine[Any, Any, T], heartbeat: Callable[[], object] = lambda: None) -> T:
    """Runs work in the thread and returns its result; signals are heeded meanwhile, and then it is cancelled.

    Args:
        work: a coroutine.
        heartbeat: called again and again.
    """
    return wait(submit(work), heartbeat)


def wait(future: "Future[T]", heartbeat: Callable[[], object] = lambda: None) -> T:
    """Returns what has been submitted. As run."""
    try:
        while not future.done():
            heartbeat()
            end_if_stopped()
            futures.wait([future], _SLICE_S)
    except BaseException:
        future.cancel()
        raise
    try:
        return future.result()
    except futures.CancelledError as error:
        raise RemoteError(errno.ECANCELED, "the request was cancelled: this process is ending") from error


async def gather(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Returns the results of several pieces of work that go on side by side; if one fails the others are ended first."""
    works = list(works)
    if len(works) == 1:  # most clips: a task of its own takes time
        return [await works[0]]
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:
        if not _running:
            _running.append((os.getpid(), _start()))
        pid, loop = _running[0]
        if pid != os.getpid():  # a fork has none of its threads, nor of a library's, and would hang
            raise RuntimeError(
                "remote files are not read in a fork of a process that has read some: start it by spawn or forkserver"
            )
        return loop


def _start() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    # Signals are for the main thread.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread = threading.Thread(target=loop.run_forever, name="remote requests", daemon=True)
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    atexit.register(_end, loop, thread, os.getpid())
    return loop


def _new_lock() -> None:
    global _lock  # noqa: PLW0603 (another thread may have held it)
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_new_lock)


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread, pid: int) -> None:
    """Cancels what is still in flight before Python goes: a library's thread would otherwise call into what is gone."""
    if os.getpid() != pid:
        return

    async def cancel_all() -> None:
        tasks = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tasks:  # a library's threads hear of it a little later
            await asyncio.sleep(_SETTLE_S)
        loop.call_soon(loop.stop)

    asyncio.run_coroutine_threadsafe(cancel_all(), loop)
    thread.join(_END_LIMIT_S)
