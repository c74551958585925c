"""Frees DALI from the semaphores that a killed loader worker has taken with it, on which it would wait for ever.

A worker that is killed while it puts a batch into DALI's queue holds the queue's lock; one that is killed while it waits for
work counts as a sleeper that never wakes (both seen with DALI 2.4). DALI notices the death, and then waits for the dead.
After a death the pipeline is of no use any more: all that matters is that its call returns.
"""

import ctypes
import multiprocessing.connection
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from typing import Any

_PATIENCE_S = 2.0  # a queue's lock is held for microseconds


def guard(pipeline: Any, workers: Sequence[BaseProcess], sound_ends: Sequence[int]) -> None:
    """Watches a pipeline's workers from a thread that ends with them.

    Args:
        pipeline: a built DALI pipeline.
        workers: its worker processes.
        sound_ends: exit codes of workers that have not been killed.
    """
    pool = getattr(getattr(pipeline, "_py_pool", None), "pool", None)
    queues = [getattr(pool, name, None) for name in ("_result_queue", "_general_task_queue")]
    queues = [queue for queue in queues if hasattr(queue, "lock") and hasattr(queue, "cv_not_empty")]
    if workers and queues:
        threading.Thread(target=_watch, args=(queues, workers, sound_ends), name="orphaned locks", daemon=True).start()


def _watch(queues: Sequence[Any], workers: Sequence[BaseProcess], sound_ends: Sequence[int]) -> None:
    ended = multiprocessing.connection.wait([worker.sentinel for worker in workers])
    first = next(worker for worker in workers if worker.sentinel in ended)
    first.join(1)  # its end is seen a moment before its exit code is
    if first.exitcode in sound_ends:
        return
    # All first: of two one might take the lock, and end with it.
    for worker in workers:
        worker.terminate()
        worker.join(5)
        worker.kill()
        worker.join(5)
    for queue in queues:
        _free(queue)
    with suppress(Exception):
        queues[0].close()
    _post(queues[0].cv_not_empty._wait_semaphore)  # whoever waits for a result looks up, and sees that there will be none


def _free(queue: Any) -> None:
    for semaphore in (queue.cv_not_empty._woken_count, queue.lock):
        if queue.lock.acquire(timeout=_PATIENCE_S):
            queue.lock.release()
            return
        # Its holder waits for the dead one to wake; or it is the dead one.
        _post(semaphore)


def _post(semaphore: Any) -> None:
    # Not by release(), which would count it as let go of by one who never had it.
    ctypes.CDLL(None).sem_post(ctypes.c_void_p(semaphore._semlock.handle))
