"""The scores of windows over a long video, computed once and kept in a file beside the result until that is written."""

import heapq
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.formats.schemas import ShapeError, decode_object

_HEADER_BYTES = 4096
_TIMES_AHEAD = 1e-9


@dataclass(frozen=True)
class Clips:
    """Which frames make the clip of a window: num_frames of them, evenly spread."""

    window_s: float
    stride_s: float
    num_frames: int

    def time(self, window: int, slot: int) -> float:
        """Returns the time of a window's frame, in seconds."""
        return window * self.stride_s + (slot + 0.5) * self.window_s / self.num_frames

    def times(self, first: int) -> Iterator[tuple[float, int, int]]:
        """Yields (time, window, slot) of all windows from one on, by time; without an end."""
        waiting: list[tuple[float, int, int]] = []
        window = first
        while True:
            while not waiting or self.time(window, 0) <= waiting[0][0] + _TIMES_AHEAD:
                for slot in range(self.num_frames):
                    heapq.heappush(waiting, (self.time(window, slot), window, slot))
                window += 1
            yield heapq.heappop(waiting)


def clips_of(
    frames: Callable[[Iterator[float]], Iterator[tuple[float, NDArray[np.uint8]]]], clips: Clips, first: int
) -> Iterator[NDArray[np.uint8]]:
    """Yields the windows' clips in their order, uint8 [T, H, W, C]; of a window that the video ends in, its last frame repeats.

    A window counts if at least half of its frames are in the video; the first one in any case.

    Args:
        frames: yields a picture for each of the times it is given, until the video ends.
        clips: which frames make them.
        first: the window to begin with.
    """
    asked: list[tuple[float, int, int]] = []

    def times() -> Iterator[float]:
        for item in clips.times(first):
            asked.append(item)
            yield item[0]

    open_: dict[int, list[NDArray[np.uint8]]] = {}
    for _, picture in frames(times()):
        _, window, _ = asked.pop(0)
        open_.setdefault(window, []).append(picture)
        if len(open_[window]) == clips.num_frames:
            yield np.stack(open_.pop(window))
    for window in sorted(open_):
        pictures = open_[window]
        if 2 * len(pictures) >= clips.num_frames or window == 0:
            yield np.stack(pictures + [pictures[-1]] * (clips.num_frames - len(pictures)))


class WindowScores:
    """A file of probabilities, float32 [windows, K], behind a header that says what they are of. It grows window by window."""

    def __init__(self, path: Path, header: dict[str, Any], num_classes: int):
        """Opens the file: what an interrupted command has computed with the same header stays.

        Raises:
            UserError: it cannot be written.
        """
        self.path, self._row_bytes = path, 4 * num_classes
        self._num_classes = num_classes
        text = json.dumps(header, sort_keys=True).encode()
        self._header = text.ljust(_HEADER_BYTES - 1) + b"\n"
        try:
            if _read_header(path) != decode_object(text):
                path.write_bytes(self._header)
            whole = max((path.stat().st_size - _HEADER_BYTES) // self._row_bytes, 0)
            os.truncate(path, _HEADER_BYTES + whole * self._row_bytes)
            self._file = path.open("ab")
        except OSError as error:
            raise UserError(f"--segments: {path} cannot be written ({error.strerror}); give another place") from error
        self.count = whole
        """Windows whose scores are there."""

    def append(self, rows: NDArray[np.float32]) -> None:
        """Adds the scores of the next windows.

        Raises:
            UserError: the disk is full.
        """
        try:
            self._file.write(rows.astype("<f4").tobytes())
            self._file.flush()
        except OSError as error:
            raise UserError(f"--segments: {self.path} cannot be written ({error.strerror}); free the disk") from error
        self.count += len(rows)

    def rows(self) -> NDArray[np.float32]:
        """Returns all scores, mapped and not read."""
        shape = (self.count, self._num_classes)
        if not self.count:
            return np.zeros(shape, np.float32)
        return np.memmap(self.path, "<f4", "r", offset=_HEADER_BYTES, shape=shape)

    def close(self) -> None:
        """Closes the file, which stays."""
        self._file.close()

    def remove(self) -> None:
        """Deletes the file."""
        self.close()
        self.path.unlink(missing_ok=True)


def _read_header(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            return decode_object(file.read(_HEADER_BYTES).decode().rstrip())
    except (OSError, ShapeError, UnicodeDecodeError):
        return None
