"""From the scores of windows over a video to segments: smoothed, merged, and written as JSON, CSV or subtitles. Numpy only."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROWS = 4096  # windows whose scores are held at a time
FORMATS = (".json", ".csv", ".srt")


@dataclass(frozen=True)
class Segment:
    """A stretch of a video that shows a class."""

    start_s: float
    end_s: float
    label: int
    score: float
    """Mean of its windows' smoothed probabilities."""


@dataclass(frozen=True)
class Windows:
    """How windows lie over a video: the k-th from k x stride_s on, window_s long."""

    window_s: float
    stride_s: float
    duration_s: float

    def span(self, first: int, last: int, count: int) -> tuple[float, float]:
        """Returns what windows from one to another stand for: from the middle between neighbours to the next middle.

        Args:
            first: the first of them.
            last: the last one.
            count: of all windows: the first one's span begins with the video, and the last one's ends with it.
        """
        middle = (self.window_s - self.stride_s) / 2
        start = first * self.stride_s + middle if first else 0.0
        end = (last + 1) * self.stride_s + middle if last + 1 < count else self.duration_s
        return max(start, 0.0), min(max(end, start), self.duration_s)


def find_segments(
    scores: NDArray[np.float32], windows: Windows, thresholds: NDArray[np.float64], *, smooth: int, several: bool
) -> Iterator[Segment]:
    """Yields the segments, by the time at which they end.

    Args:
        scores: probabilities of each window, [windows, K]; may be a file that is mapped: few rows are held at a time.
        windows: how they lie.
        thresholds: what a class's smoothed probability must reach, [K].
        smooth: windows that are averaged, an odd number; at the ends there are fewer.
        several: whether a window may show several classes; otherwise it shows its best one, if that reaches its threshold.
    """
    open_: dict[int, tuple[int, float]] = {}  # label -> its first window, and the sum of scores since
    count = len(scores)
    for number, row in enumerate(_smoothed(scores, smooth)):
        shown = np.flatnonzero(row >= thresholds) if several else np.array([row.argmax()])
        here = {int(label) for label in shown if row[label] >= thresholds[label]}
        yield from _closed(open_, set(open_) - here, number, windows, count)
        for label in here:
            first, total = open_.get(label, (number, 0.0))
            open_[label] = (first, total + float(row[label]))
    yield from _closed(open_, set(open_), count, windows, count)


def _closed(
    open_: dict[int, tuple[int, float]], labels: set[int], number: int, windows: Windows, count: int
) -> Iterator[Segment]:
    for label in sorted(labels):
        first, total = open_.pop(label)
        yield Segment(*windows.span(first, number - 1, count), label, total / (number - first))


def _smoothed(scores: NDArray[np.float32], smooth: int) -> Iterator[NDArray[np.float64]]:
    """Yields each window's mean over its neighbours, float64 [K]."""
    reach, count = smooth // 2, len(scores)
    for start in range(0, count, _ROWS):
        low, high = max(start - reach, 0), min(start + _ROWS + reach, count)
        block = np.asarray(scores[low:high], np.float64)
        for number in range(start, min(start + _ROWS, count)):
            yield block[max(number - reach, 0) - low : number + reach + 1 - low].mean(0)


def written(segments: Sequence[Segment], classes: Sequence[str], suffix: str, facts: dict[str, Any]) -> str:
    """Returns segments as the text of a file.

    Args:
        segments: in the order in which they are to stand there.
        classes: names by label.
        suffix: of FORMATS.
        facts: of the video and the windows; only JSON has them.
    """
    if suffix == ".json":
        rows = [
            {"start": round(s.start_s, 3), "end": round(s.end_s, 3), "class": classes[s.label], "label": s.label,
             "score": round(s.score, 4)}
            for s in segments
        ]  # fmt: skip
        return json.dumps({**facts, "segments": rows}, indent=2) + "\n"
    if suffix == ".csv":
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("start", "end", "class", "label", "score"))
        for s in segments:
            table.writerow((f"{s.start_s:.3f}", f"{s.end_s:.3f}", classes[s.label], s.label, f"{s.score:.4f}"))
        return text.getvalue()
    lines = (
        f"{number}\n{_clock(s.start_s)} --> {_clock(s.end_s)}\n{_one_line(classes[s.label])} ({100 * s.score:.0f} %)\n"
        for number, s in enumerate(segments, start=1)
    )
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    """Returns a time as subtitles have it: 01:02:03,456."""
    ms = round(1000 * seconds)
    return f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"


def _one_line(name: str) -> str:
    return " ".join(name.split()).replace("-->", "->")
