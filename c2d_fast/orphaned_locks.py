"""Lets go of the locks that a killed loader worker has taken with it, on which DALI would wait for ever.

A worker that is killed while it puts a batch into DALI's queue holds the queue's lock (seen with DALI 2.4). DALI notices the
death, and then waits for that lock itself.
"""

import multiprocessing.connection
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from typing import Any

_PATIENCE_S = 3.0  # a queue's lock is held for microseconds


def guard(pipeline: Any, workers: Sequence[BaseProcess], sound_ends: Sequence[int]) -> None:
    """Watches a pipeline's workers from a thread that ends with them.

    Args:
        pipeline: a built DALI pipeline.
        workers: its worker processes.
        sound_ends: exit codes of workers that have not been killed.
    """
    pool = getattr(getattr(pipeline, "_py_pool", None), "pool", None)
    queues = [getattr(pool, name, None) for name in ("_result_queue", "_general_task_queue")]
    locks = [lock for queue in queues if (lock := getattr(queue, "lock", None)) is not None]
    if workers and locks:
        threading.Thread(target=_watch, args=(locks, workers, sound_ends), name="orphaned locks", daemon=True).start()


def _watch(locks: Sequence[Any], workers: Sequence[BaseProcess], sound_ends: Sequence[int]) -> None:
    ended = multiprocessing.connection.wait([worker.sentinel for worker in workers])
    first = next(worker for worker in workers if worker.sentinel in ended)
    first.join(1)  # its end is seen a moment before its exit code is
    if first.exitcode in sound_ends:
        return
    for lock in locks:
        lock.acquire(timeout=_PATIENCE_S)
        # Ours now, or that of a process that is gone: it may be let go of by another.
        with suppress(ValueError):  # its holder has let go of it in between
            lock.release()
