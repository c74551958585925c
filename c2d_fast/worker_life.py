"""How a loader's worker process lives and ends: with its parent, and by nobody else's signals. No torch, no DALI."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from functools import lru_cache

from c2d_fast import worker_counts, worker_notes, worker_stacks

TOLD_TO_END = 143
"""Exit code of a worker that its parent has ended."""


@lru_cache(maxsize=1)
def settle(inbox: str, counts: str, notes: str = "") -> None:
    """Makes this process one that ends with its parent, and by nobody else's signals; called again it does nothing."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    # Ctrl-C reaches all processes of a terminal, and a job system's signals all of a job: the parent decides.
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    threading.Thread(target=_end_when_told_by, args=(parent.pid,), daemon=True).start()
    if inbox:
        worker_stacks.answer_to(inbox)
    worker_counts.count_in(counts)
    worker_notes.write_to(notes)


def _end_with(sentinel: int) -> None:
    """Ends this process once the sentinel's has ended, which DALI's workers of a killed run would not do by themselves."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _end_when_told_by(pid: int) -> None:
    """Ends this process by the SIGTERM that DALI sends, and not by one that is meant for the parent."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != pid:
        pass
    os._exit(TOLD_TO_END)


def is_worker() -> bool:
    """Says whether this process is one that DALI has started for a loader."""
    return multiprocessing.parent_process() is not None
