"""The windows of a stream: which frames make them, and which of them there is time for."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2d_fast.commands.window_scores import Clips
from c2d_fast.video.live_frames import LiveFrame

_NEAR_S = 1e-6
_FORGOTTEN = 0.1


@dataclass(frozen=True)
class Window:
    """A window of a stream."""

    number: int
    clip: NDArray[np.uint8]
    """Frames [T, H, W, C]."""
    arrived_s: float
    """When its last frame came, or was due, if it came later; of time.monotonic()."""
    due_s: float
    """When its last frame was due."""


class LiveWindows:
    """Makes windows of frames as they come: the same as window_scores.clips_of makes of a file."""

    def __init__(self, clips: Clips):
        """Begins; clips: which frames make the windows."""
        self._clips = clips
        self._last: LiveFrame | None = None
        self._begin(0)

    def _begin(self, first: int) -> None:
        self._first, self._made = first, first
        self._times = self._clips.times(first)
        self._wanted = next(self._times)
        self._open: dict[int, list[NDArray[np.uint8]]] = {}

    def cut(self, time_s: float) -> int:
        """Begins with the first window that has all of its frames at a time or later; returns how many are left out."""
        first = max(int((time_s - self._clips.time(0, 0)) / self._clips.stride_s) - 1, self._made)
        while self._clips.time(first, 0) < time_s - _NEAR_S:
            first += 1
        missing = first - self._made
        self._begin(first)
        return missing

    def add(self, frame: LiveFrame, picture: Callable[[LiveFrame], NDArray[np.uint8]]) -> Iterator[Window]:
        """Yields the windows that a frame completes.

        Args:
            frame: the next one.
            picture: returns what is kept of it; called if a window wants it.
        """
        kept, self._last = None, frame
        while self._wanted[0] <= frame.time_s + _NEAR_S:
            kept = picture(frame) if kept is None else kept
            number = self._wanted[1]
            self._open.setdefault(number, []).append(kept)
            self._wanted = next(self._times)
            if len(self._open[number]) == self._clips.num_frames:
                self._made = number + 1
                yield Window(number, np.stack(self._open.pop(number)), frame.arrived_s, frame.due_s)

    def end(self) -> Iterator[Window]:
        """Yields the windows that the stream ends in, if half of their frames are there; the very first one in any case."""
        last = self._last
        for number, pictures in sorted(self._open.items()):
            missing = self._clips.num_frames - len(pictures)
            if len(pictures) >= missing or number == 0:
                assert last is not None  # one of its pictures
                yield Window(number, np.stack(pictures + [pictures[-1]] * missing), last.arrived_s, last.due_s)


class Waiting:
    """Windows that wait for the model. One whose result would come too late is dropped, and all but the newest with it."""

    def __init__(self, max_delay_s: float, batch_size: int):
        """Begins.

        Args:
            max_delay_s: how long after its last frame a window's result may come; infinite: nothing is dropped.
            batch_size: windows that are scored together, at most.
        """
        self._max_delay_s, self._batch_size = max_delay_s, batch_size
        self._windows: deque[Window] = deque()
        self.each_s = 0.0
        """What a window takes to be scored: the most of late."""

    def __len__(self) -> int:
        return len(self._windows)

    def add(self, window: Window) -> None:
        """Has a window wait."""
        self._windows.append(window)

    def take(self) -> tuple[list[Window], int]:
        """Returns the windows to score next, and how many before them were dropped."""
        count = self._in_time()
        if self._windows and not count:
            dropped, newest = len(self._windows) - 1, self._windows[-1]
            self._windows.clear()
            return [newest], dropped
        return [self._windows.popleft() for _ in range(count)], 0

    def _in_time(self) -> int:
        """Returns how many windows can be scored together before the first of them is too late."""
        now_s = time.monotonic()
        count = min(len(self._windows), self._batch_size)
        while count and now_s + self.each_s * count - self._windows[0].due_s > self._max_delay_s:
            count -= 1
        return count

    def scored(self, count: int, took_s: float) -> None:
        """Is told how long the model took."""
        self.each_s = max(took_s / count, (1 - _FORGOTTEN) * self.each_s)
