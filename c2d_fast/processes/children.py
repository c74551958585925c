"""Runs a function over many items in child processes that may hang or crash: each is watched, and replaced.

concurrent.futures gives up all work when one process dies, and cannot end one that hangs.
"""

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from c2d_fast.processes.early_signals import signals_deferred
from c2d_fast.processes.spawning import without_main

_CONTEXT = multiprocessing.get_context("spawn")  # a forked child of a process with threads may hang
_CHECK_EVERY_S = 0.5
_START_LIMIT_S = 120.0
_END_LIMIT_S = 5.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

Work = Callable[[Any, Callable[[], None]], Any]
"""work(item, tick) -> result. It calls tick() as it gets on; without a tick for the time limit it counts as hung."""


@dataclass(frozen=True)
class LostItem:
    """What became of an item whose process did not live to say."""

    reason: str


def run_in_children(
    work: Work, items: Iterable[Any], *, jobs: int, time_limit_s: float, with_main: bool = True
) -> Iterator[tuple[Any, Any]]:
    """Yields (item, result) as they are done, in no order; the result is a LostItem where the process hung or crashed.

    Args:
        work: a function of a module; what it raises is raised here.
        items: what it is called with; read only as fast as they are worked on. Items and results are pickled.
        jobs: processes.
        time_limit_s: a process that gets no further for so long is ended.
        with_main: whether the processes import the script that this program was started with, for what stands there.

    When the caller stops iterating, also because of Ctrl-C, the processes are ended; they end by themselves when this
    process does, however it does.
    """
    with ChildPool(work, jobs=jobs, time_limit_s=time_limit_s, with_main=with_main) as pool:
        yield from pool.run(items)


class ChildPool:
    """The processes of run_in_children, kept from one call to the next; ended with close(), or with this process."""

    def __init__(self, work: Work, *, jobs: int, time_limit_s: float, with_main: bool = True):
        """Starts the processes; all arguments as run_in_children has them."""
        self._time_limit_s = time_limit_s
        self._children = [_Child(work, with_main) for _ in range(jobs)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes, whatever they do."""
        for child in self._children:
            child.end()

    def run(self, items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Yields as run_in_children does; where it is not gone through to its end the pool can only be closed."""
        todo = iter(items)
        for child in self._children:
            child.give_next(todo)
        while busy := [child for child in self._children if child.busy]:
            ready = set(multiprocessing.connection.wait([c for child in busy for c in child.waits_for()], _CHECK_EVERY_S))
            for child in busy:
                if child.pipe in ready or child.process.sentinel in ready:
                    result = child.result()
                    if isinstance(result, LostItem) and child.give_again():
                        continue
                elif child.hangs(self._time_limit_s):
                    child.end()
                    result = LostItem(f"hangs: gets no further for {self._time_limit_s:g} s")
                else:
                    continue
                item = child.item
                child.give_next(todo)
                yield item, result


class _Child:
    """One process, and the item that it works on."""

    def __init__(self, work: Work, with_main: bool):
        self._work, self._with_main = work, with_main
        self.busy = False
        self.item: Any = None
        self._start()

    def _start(self) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        self._ticks = _CONTEXT.RawValue("Q", 0)
        self.process: BaseProcess = _CONTEXT.Process(target=_serve, args=(self._work, theirs, self._ticks), daemon=True)
        # Ctrl-C reaches all processes of a terminal: until a child has been told to ignore it, it waits.
        resource_tracker.ensure_running()  # which Python would start in between, letting the signal through
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with signals_deferred(), nullcontext() if self._with_main else without_main():
                self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        theirs.close()

    def give_next(self, todo: Iterator[Any]) -> None:
        """Takes the next item, if there is one; a process that has ended is replaced for it."""
        self.busy = False
        for item in todo:
            self.item, self.busy, self._is_second_try = item, True, False
            self._give()
            return

    def give_again(self) -> bool:
        """Gives the item to a new process, if it was its first: the old one may have been ended for no fault of the item's."""
        if self._is_second_try:
            return False
        self._is_second_try = True
        self._give()
        return True

    def _give(self) -> None:
        if not self.process.is_alive():
            self.end()
            self._start()
        self._seen, self._still_s, self._checked_s = -1, 0.0, time.monotonic()
        try:
            self.pipe.send(self.item)
        except OSError:  # it has ended just now
            self.end()
            self._start()
            self.pipe.send(self.item)

    def waits_for(self) -> list[Any]:
        """Returns what becomes ready when there is something to hear of this process."""
        return [self.pipe, self.process.sentinel]

    def result(self) -> Any:
        """Returns what the process has sent, or how it ended."""
        try:
            kind, result = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            end = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            return LostItem(
                f"ends the decoder with {end}" + (", perhaps for want of memory" if code == -signal.SIGKILL else "")
            )
        if kind == "raised":
            raise result
        return result

    def hangs(self, time_limit_s: float) -> bool:
        """Says whether the process has got no further for too long."""
        ticks, now_s = int(self._ticks.value), time.monotonic()
        # Time in which this process, too, stood still (Ctrl-Z, a machine asleep) is nothing against the item.
        self._still_s += min(now_s - self._checked_s, 2 * _CHECK_EVERY_S)
        self._checked_s = now_s
        if ticks != self._seen:
            self._seen, self._still_s = ticks, 0.0
        # Nor is that a busy machine may take long to start a process.
        return self._still_s > (time_limit_s if ticks else max(time_limit_s, _START_LIMIT_S))

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self.process.kill()
        self.process.join(_END_LIMIT_S)  # one that waits for a dead disk cannot be ended, and is left behind
        self.pipe.close()


def _serve(work: Work, pipe: Connection, ticks: Any) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # works where a decoder spins and holds Python's lock
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()

    def tick() -> None:
        ticks.value += 1

    tick()
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer: tuple[str, Any] = ("returned", work(item, tick))
        except Exception as error:  # the parent's to deal with
            answer = ("raised", error)
        pipe.send(answer)


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
