"""Hands a run's figures to a tracker by a thread, so that the training loop never waits for a server, and never hears of it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

_MOST_WAITING = 50_000  # figures: some ten thousand steps
_MOST_AT_ONCE = 500
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_END_S = 30.0
_END_OF_STOPPED_S = 10.0  # whoever sends a signal does not wait for long, either


class Figure(NamedTuple):
    """A number that a run has recorded."""

    tag: str
    """As TensorBoard has it, such as val/top1."""
    value: float
    step: int
    time_ms: int
    """Since 1970, when it was recorded."""


class Tracker(Protocol):
    """A run in a program that keeps runs. Its calls may take their time, and raise whatever they like."""

    run_id: str
    """By which the run is gone on with."""
    note: str
    """A line for the user; "" for none."""

    def log(self, figures: Sequence[Figure]) -> None:
        """Sends figures, in their order. Where that fails, they are sent again."""

    def close(self, *, finished: bool) -> None:
        """Says that the run has ended, and whether it has come to its end."""


class TrackerQueue:
    """What Records hands its figures to: they wait here until a thread has sent them. Nothing is raised.

    A tracker that fails is tried again, at longer and longer intervals. As many figures are kept meanwhile as fit the queue;
    those that come then are lost to the tracker.
    """

    def __init__(self, name: str, connect: Callable[[], Tracker]):
        """Starts the thread.

        Args:
            name: of the tracker.
            connect: returns it; called by the thread until it succeeds.
        """
        self._name, self._connect = name, connect
        self._figures: deque[Figure] = deque()
        self._condition = threading.Condition()
        self._lost, self._failed, self._closing, self._finished = 0, False, False, False
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Takes a number, to be sent soon."""
        with self._condition:
            if len(self._figures) < _MOST_WAITING:
                self._figures.append(Figure(tag, float(value), step, round(1000 * time.time())))
            else:
                self._lost += 1

    def pop_lines(self) -> list[str]:
        """Returns what there is to be told, each once."""
        with self._condition:
            lines, self._lines = self._lines, []
        return lines

    def close(self, *, finished: bool) -> None:
        """Waits for what has not been sent yet, but not for long."""
        with self._condition:
            self._closing, self._finished = True, finished
            self._condition.notify()
        self._thread.join(_END_S if finished else _END_OF_STOPPED_S)
        with self._condition:
            left = len(self._figures) + self._lost
            if left:
                self._lines.append(f"note: {left} figures were not sent to {self._name}; metrics.jsonl has them")
            elif self._thread.is_alive():
                self._lines.append(f"note: {self._name} has not said that it has all figures; metrics.jsonl has them")

    def _work(self) -> None:
        tracker, pause_s = None, _PAUSE_S
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._closing, pause_s)
                closing, some = self._closing, list(islice(self._figures, _MOST_AT_ONCE))
            try:
                tracker = tracker or self._connected()
                if some:
                    tracker.log(some)
                elif closing:
                    tracker.close(finished=self._finished)
            except Exception as error:  # whatever it is: a tracker is not worth a run
                self._note_failure(error)
                if closing:
                    return
                pause_s = min(2 * max(pause_s, _PAUSE_S), _LONGEST_PAUSE_S)
                continue
            if closing and not some:
                return
            with self._condition:
                for _ in some:
                    self._figures.popleft()
            pause_s = 0.0 if len(some) == _MOST_AT_ONCE else _PAUSE_S

    def _connected(self) -> Tracker:
        tracker = self._connect()
        if tracker.note:
            with self._condition:
                self._lines.append(tracker.note)
        return tracker

    def _note_failure(self, error: Exception) -> None:
        with self._condition:
            if not self._failed:
                self._lines.append(
                    f"warning: {self._name} does not take the run's figures ({short_reason(error)}); the run goes on, and they "
                    "are sent when it does"
                )
            self._failed = True


def short_reason(error: Exception) -> str:
    """Returns the first line of what an error says, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
