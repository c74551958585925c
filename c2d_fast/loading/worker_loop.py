"""What each process of a worker pool does. No torch, no DALI."""

import pickle
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from numpy.typing import NDArray

from c2d_fast.loading.sample_info import SampleIndex
from c2d_fast.loading.sample_memory import Layout, SampleMemory

Read = Callable[[Any], tuple[NDArray[Any], ...]]
"""What a process calls with a SampleIndex for each sample; picklable."""


def read_until_ended(pickled: bytes, memory: SampleMemory, batch_size: int, pipe: Connection) -> None:
    """Reads the samples that the parent asks for, run by run, until it ends this process.

    Args:
        pickled: a Read. If it has a method ask_ahead, that is called with each sample as soon as it is asked for.
        memory: where the samples go.
        batch_size: of the pipeline.
        pipe: gives runs of (number, slot), and takes for each run where its samples lie, or what was raised.
    """
    read: Read = pickle.loads(pickled)
    ask_ahead: Callable[[SampleIndex], None] = getattr(read, "ask_ahead", lambda index: None)
    runs: deque[list[tuple[int, int]]] = deque()
    with suppress(EOFError, OSError):  # it has gone
        while True:
            while not runs or pipe.poll():
                runs.append(pipe.recv())
                for number, _ in runs[-1]:
                    with suppress(Exception):  # which reading it will raise
                        ask_ahead(SampleIndex(*divmod(number, batch_size)))
            results: list[tuple[Layout, str]] = []
            for number, slot in runs.popleft():
                try:
                    results.append((memory.write(slot, read(SampleIndex(*divmod(number, batch_size)))), ""))
                except Exception:  # the parent's to deal with
                    results.append(([], traceback.format_exc()))
            pipe.send(results)
