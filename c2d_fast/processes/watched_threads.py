"""Runs a function over many items in threads, any of which may hang: on storage that does not answer, or in a decoder.

Threads start at once, where processes (children.py) take seconds; but one that hangs cannot be ended, and is left behind.
"""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any

from c2d_fast.processes.children import LostItem

_CHECK_EVERY_S = 0.5
_END_LIMIT_S = 5.0
_NO_MORE = object()
_last_heartbeat_s: dict[int, float] = {}


def heartbeat() -> None:
    """Says that this thread gets on with what it does."""
    _last_heartbeat_s[threading.get_ident()] = time.monotonic()


def run_in_threads(
    work: Callable[[Any], Any], items: Iterable[Any], *, jobs: int, time_limit_s: float
) -> Generator[tuple[Any, Any], None, None]:
    """Yields (item, result) as they are done, in no order; the result is a LostItem where the thread hangs.

    Args:
        work: called with each item; what it raises is raised here. It calls heartbeat() as it gets on.
        items: what it is called with.
        jobs: threads.
        time_limit_s: a thread without a heartbeat for so long is given up.

    When the caller stops iterating, the threads end after the item that they are at.
    """
    run = _Run(work, items)
    threads = [_Worker(run) for _ in range(max(jobs, 1))]
    checked_s = time.monotonic()
    try:
        while threads:
            try:
                worker, kind, item, result = run.results.get(timeout=_CHECK_EVERY_S)
            except queue.Empty:
                pass
            else:
                if kind == "raised":
                    raise result
                if kind == "returned":
                    yield item, result
                else:
                    threads.remove(worker)
            if time.monotonic() - checked_s < _CHECK_EVERY_S:
                continue
            checked_s = time.monotonic()
            for hung in [thread for thread in threads if thread.give_up(time_limit_s)]:
                threads[threads.index(hung)] = _Worker(run)
                yield hung.item, LostItem(f"hangs: gets no further for {time_limit_s:g} s")
    finally:
        run.stop()
        limit_s = time.monotonic() + _END_LIMIT_S
        for thread in threads:
            thread.thread.join(max(limit_s - time.monotonic(), 0.0))


class _Run:
    """What the threads share."""

    def __init__(self, work: Callable[[Any], Any], items: Iterable[Any]):
        self.work = work
        self.items = iter(items)
        self.results: queue.SimpleQueue[tuple[_Worker, str, Any, Any]] = queue.SimpleQueue()
        self.lock = threading.Lock()
        """Held while a thread takes an item, hands on a result or is given up."""

    def stop(self) -> None:
        with self.lock:
            self.items = iter(())


class _Worker:
    """One thread, and the item that it works on."""

    def __init__(self, run: _Run):
        self.item: Any = None
        self._run = run
        self._is_busy = self._is_given_up = False
        self._seen_s, self._still_s, self._checked_s = 0.0, 0.0, time.monotonic()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        run = self._run
        while not self._is_given_up and self._take():
            try:
                kind, result = "returned", run.work(self.item)
            except BaseException as error:  # the caller's to deal with
                kind, result = "raised", error
            with run.lock:
                self._is_busy = False
                if not self._is_given_up:
                    run.results.put((self, kind, self.item, result))
        _last_heartbeat_s.pop(threading.get_ident(), None)
        if not self._is_given_up:
            run.results.put((self, "ended", None, None))

    def _take(self) -> bool:
        heartbeat()
        with self._run.lock:
            self.item = next(self._run.items, _NO_MORE)
            self._is_busy = self.item is not _NO_MORE
            return self._is_busy

    def give_up(self, time_limit_s: float) -> bool:
        """Says whether the thread has got no further for too long; nothing that it still finds counts then."""
        with self._run.lock:
            now_s, seen_s = time.monotonic(), _last_heartbeat_s.get(self.thread.ident or 0, 0.0)
            # Time in which all of this process stood still (Ctrl-Z, a machine asleep) is nothing against the item.
            self._still_s += min(now_s - self._checked_s, 2 * _CHECK_EVERY_S)
            self._checked_s = now_s
            if seen_s != self._seen_s or not self._is_busy:
                self._seen_s, self._still_s = seen_s, 0.0
            self._is_given_up = self._still_s > time_limit_s
            return self._is_given_up
