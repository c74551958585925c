"""The thread that all requests of a process run in: many at a time, and none that keeps the process from ending."""

import asyncio
import atexit
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, TimeoutError
from typing import Any, TypeVar

T = TypeVar("T")

_SLICE_S = 0.5
_END_LIMIT_S = 1.0
_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process: a fork has none of its parent's threads


def submit(work: Coroutine[Any, Any, T]) -> "Future[T]":
    """Starts work in the thread; its result can be waited for, or it can be cancelled, which ends its requests."""
    return asyncio.run_coroutine_threadsafe(work, _loop())


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
        while True:
            heartbeat()
            try:
                return future.result(_SLICE_S)
            except TimeoutError:
                if future.done():  # its own
                    raise
            except CancelledError as error:
                raise OSError("the request was cancelled: this process is ending") from error
    except BaseException:
        future.cancel()
        raise


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            # Signals are for the main thread.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                thread = threading.Thread(target=loop.run_forever, name="remote requests", daemon=True)
                thread.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            atexit.register(_end, loop, thread, os.getpid())
        return loop


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread, pid: int) -> None:
    """Cancels what is still in flight before Python goes: a library's thread would otherwise call into what is gone."""
    if os.getpid() != pid:
        return

    async def cancel_all() -> None:
        tasks = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        loop.call_soon(loop.stop)

    asyncio.run_coroutine_threadsafe(cancel_all(), loop)
    thread.join(_END_LIMIT_S)
