"""How a loader's worker process lives and ends: with its parent, and by nobody else's signals. No torch, no DALI."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from functools import lru_cache

from c2d_fast.processes import worker_counts, worker_notes, worker_stacks


@lru_cache(maxsize=1)
def init_worker(inbox: str, counts: str, notes: str = "") -> None:
    """Makes this process one that ends with its parent, and by nobody else's signals; called again it does nothing."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    # Ctrl-C reaches all processes of a terminal, and a job system's signals all of a job: the parent decides.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    if inbox:
        worker_stacks.dump_stacks_to(inbox)
    worker_counts.open_counts(counts)
    worker_notes.write_to(notes)


def _end_with(sentinel: int) -> None:
    """Ends this process once the sentinel's has ended, which it would not while it reads."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def is_worker() -> bool:
    """Says whether this process is one that a loader has started."""
    return multiprocessing.parent_process() is not None
