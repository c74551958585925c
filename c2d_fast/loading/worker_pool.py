"""Processes that read samples ahead for a DALI graph; one that ends is replaced, and nothing of the others' work is lost.

DALI's own pool shares locks between its processes, and one that is killed takes them along (docs/decisions/0010). Here each
process has a pipe of its own, and only this process knows who does what. No torch, no DALI.
"""

import heapq
import multiprocessing
import os
import pickle
import selectors
import signal
import threading
import weakref
from collections import deque
from contextlib import nullcontext, suppress
from multiprocessing.process import BaseProcess
from typing import Any

from numpy.typing import NDArray

from c2d_fast.loading.sample_info import SampleIndex
from c2d_fast.loading.sample_memory import Layout, SampleMemory
from c2d_fast.loading.worker_loop import Read, read_until_ended
from c2d_fast.processes.early_signals import signals_deferred
from c2d_fast.processes.signals import STOP_SIGNALS, end_if_stopped
from c2d_fast.processes.spawning import needs_main, without_main

_CONTEXT = multiprocessing.get_context("spawn")  # a forked child of a process that uses CUDA or threads may hang
_AHEAD = 2  # batches that are read ahead of what DALI has taken
_IN_HAND = 2  # runs of samples that a process has been given: one that it reads, and one so that it need not wait
_RUN = 8  # samples at most that it sends word of together: each word costs this process a tenth of a millisecond
ASKED_AHEAD = 16  # samples of remote videos that a process asks its server for at a time (docs/remote.md)
_LOSSES = 3  # of a sample with the process that read it and no other, after which it is not tried again
_END_LIMIT_S, _SLICE_S = 5.0, 0.2


class SampleLostError(Exception):
    """A sample whose reading has ended several processes, one after the other."""

    def __init__(self, sample: SampleIndex, deaths: list[str]):
        super().__init__(", ".join(deaths))
        self.sample, self.deaths = sample, deaths


class _Worker:
    """One process, its pipe, and the runs of samples that it has been given, in their order."""

    def __init__(self, read: bytes, memory: SampleMemory, batch_size: int):
        self.pipe, theirs = _CONTEXT.Pipe()
        self.process: BaseProcess = _CONTEXT.Process(
            target=read_until_ended, args=(read, memory, batch_size, theirs), daemon=True
        )
        with signals_deferred(), nullcontext() if needs_main(read) else without_main():
            self.process.start()
        theirs.close()  # its end of the pipe ends with it
        self.runs: deque[range] = deque()

    def end(self) -> None:
        """Ends the process, whatever it does: it holds nothing that others need."""
        self.process.kill()
        self.process.join(_END_LIMIT_S)  # one that waits for a dead disk cannot be ended, and is left behind
        self.pipe.close()


class WorkerPool:
    """Reads the samples of a pipeline's batches ahead, in their order; read_batch is what the external source calls."""

    def __init__(self, read: Read, *, workers: int, batch_size: int, held: int, asked_ahead: int = 0, ends_early: bool = False):
        """Prepares a pool that starts with start(), or the first batch.

        Args:
            read: of a sample.
            workers: processes.
            batch_size: of the pipeline.
            held: batches whose arrays must stay as they are while another is read: those that DALI has not done with.
            ends_early: whether a signal ends a wait for samples: their server may hang. Otherwise it is heeded after the batch.
            asked_ahead: samples that each process is given at a time at least; read.ask_ahead is called with each first.
        """
        # As bytes: unpickled by the function that a process runs, not before, so that it knows whose child it is.
        self._read, self._batch_size = pickle.dumps(read), batch_size
        self._size, self._ends_early = max(workers, 1), ends_early
        self._ahead = max(_AHEAD, -(-asked_ahead * self._size // batch_size))  # batches
        self._slots = (held + self._ahead) * batch_size
        self._given, self._next = 0, 0  # batches; number of the first sample that nobody has been given
        self._run = min(max(batch_size // (2 * self._size), 1), _RUN)
        self._in_hand = max(_IN_HAND, -(-asked_ahead // self._run))
        self._again: list[int] = []  # numbers of samples that were lost; a heap
        self._results: dict[int, tuple[Layout, str] | SampleLostError] = {}
        self._missing: set[int] = set()  # numbers that read_batch waits for
        self._losses, self._deaths = dict[int, list[str]](), list[str]()
        self._fruitless = 0  # processes that have ended since one has read a sample
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._workers: list[_Worker] = []
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the processes, once."""
        if self._thread:
            return
        self._memory = SampleMemory(self._slots)
        self._wake_read_fd, self._wake_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_read_fd, selectors.EVENT_READ, None)
        for _ in range(self._size):
            self._add()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="loader workers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the processes. What read_batch has returned stays."""
        if not self._thread or self._closing.is_set():
            return
        self._closing.set()
        self._wake()
        self._thread.join()
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.end()
        self._selector.close()
        os.close(self._wake_read_fd)
        os.close(self._wake_fd)

    def pop_deaths(self) -> list[str]:
        """Returns how processes have ended since this was last asked, each as "process 12 by SIGKILL"."""
        with self._changed:
            deaths, self._deaths = self._deaths, []
        return deaths

    def read_batch(self) -> tuple[list[NDArray[Any]], ...]:
        """Returns the next batch, for each output of the source its samples, once all have been read.

        Raises:
            SampleLostError: a sample has ended every process that read it.
            RuntimeError: the source raised; the message is its traceback.
            EndedError: a signal has come, and the batch of remote videos does not.
        """
        self.start()
        first = self._given * self._batch_size
        numbers = range(first, first + self._batch_size)
        with self._changed:
            self._missing = set(numbers) - self._results.keys()
            while self._missing and not self._failure:
                self._changed.wait(_SLICE_S if self._ends_early else None)
                if self._ends_early:
                    end_if_stopped()
            if self._failure:
                raise self._failure
            results = [self._results.pop(number) for number in numbers]
            self._given += 1
        self._wake()
        samples = []
        for number, result in zip(numbers, results, strict=True):
            if isinstance(result, SampleLostError):
                raise result
            layout, error = result
            if error:
                raise RuntimeError(error)
            samples.append(self._memory.read(number % self._slots, layout))
        return tuple(list(output) for output in zip(*samples, strict=True))

    def _sample_index(self, number: int) -> SampleIndex:
        return SampleIndex(*divmod(number, self._batch_size))

    def _wake(self) -> None:
        """Wakes the thread."""
        with suppress(BlockingIOError):  # it has been told, and not heard it yet
            os.write(self._wake_fd, b".")

    def _serve(self) -> None:
        # Processes that are started from here inherit it, as they do from pipelines.build: signals are for this process.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            while not self._closing.is_set():
                self._hand_out()
                for key, _ in self._selector.select():
                    if key.data is None:
                        os.read(self._wake_read_fd, 4096)
                    else:
                        self._receive(key.data)
        except BaseException as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _add(self) -> None:
        worker = _Worker(self._read, self._memory, self._batch_size)
        self._workers.append(worker)
        self._selector.register(worker.pipe, selectors.EVENT_READ, worker)

    def _hand_out(self) -> None:
        """Gives runs of samples to processes that have too few, a second one only once all have a first."""
        for in_hand in range(self._in_hand):
            for worker in self._workers:
                if len(worker.runs) <= in_hand:
                    run = self._first_to_do()
                    if not run:
                        return
                    worker.runs.append(run)
                    with suppress(OSError):  # it has ended, which is heard next
                        worker.pipe.send([(number, number % self._slots) for number in run])

    def _first_to_do(self) -> range:
        if self._again:  # alone, so that the one that has ended a process is found out
            number = heapq.heappop(self._again)
            return range(number, number + 1)
        end = min(self._next + self._run, (self._given + self._ahead) * self._batch_size)  # the others' slots are still in use
        first, self._next = self._next, max(self._next, end)
        return range(first, end)

    def _receive(self, worker: _Worker) -> None:
        try:
            results = worker.pipe.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        run = worker.runs.popleft()
        with self._changed:
            for number, result in zip(run, results, strict=True):
                self._finish(number, result)
        self._fruitless = 0

    def _replace(self, worker: _Worker) -> None:
        """Starts another process in place of one that has ended, and has what it had been given done again."""
        self._selector.unregister(worker.pipe)
        self._workers.remove(worker)
        worker.process.join(_END_LIMIT_S)
        worker.end()
        death = f"process {worker.process.pid} by {_exit_cause(worker.process.exitcode)}"
        self._fruitless += 1
        with self._changed:
            self._deaths.append(death)
            for turn, run in enumerate(worker.runs):
                for number in run:
                    self._lose(number, death, is_to_blame=turn == 0 and len(run) == 1)
            if self._fruitless > (_LOSSES + 1) * self._size:  # not for a sample: they do not even get to one
                self._failure = SampleLostError(self._sample_index(self._given * self._batch_size), self._deaths[-_LOSSES:])
                self._changed.notify_all()
        if not self._failure:
            self._add()

    def _lose(self, number: int, death: str, *, is_to_blame: bool) -> None:
        if is_to_blame:
            deaths = self._losses.setdefault(number, [])
            deaths.append(death)
            if len(deaths) >= _LOSSES:
                self._finish(number, SampleLostError(self._sample_index(number), deaths))
                return
        heapq.heappush(self._again, number)

    def _finish(self, number: int, result: tuple[Layout, str] | SampleLostError) -> None:
        self._losses.pop(number, None)
        self._results[number] = result
        self._missing.discard(number)
        if not self._missing:
            self._changed.notify_all()


def attach(pipeline: Any, pool: WorkerPool) -> None:
    """Makes a pool a pipeline's: it lives as long, and pool_of finds it."""
    pipeline.worker_pool = pool
    weakref.finalize(pipeline, pool.close)


def pool_of(pipeline: Any) -> WorkerPool | None:
    """Returns a pipeline's pool; None where its graph has another source."""
    return getattr(pipeline, "worker_pool", None)


def _exit_cause(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    hints = {signal.SIGKILL: " (perhaps for want of memory)"}
    return signal.Signals(-code).name + hints.get(signal.Signals(-code), "")
