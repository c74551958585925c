"""What ranking videos by a class's scores says of them: its average precision, and the threshold of the best F1. No torch."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

NO_VIDEO_THRESHOLD = 0.5
"""Of a class that no video has: its scores say nothing."""
_AT_ONCE = 1 << 22
"""Scores that are ranked at a time: what is computed of them takes some forty times as many bytes."""

Positive = Callable[[slice], NDArray[np.bool_]]
"""Says of some classes which videos have them: bool [videos, classes]."""


def average_precision(scores: NDArray[np.floating], positive: Positive) -> NDArray[np.float64]:
    """Returns the average precision of each class: the sum of (R_i - R_i-1) P_i over its different scores, the highest first.

    P_i is the precision, and R_i the recall, of all videos whose score is the i-th or higher: videos of equal scores count
    together, in whatever order they stand.

    Args:
        scores: [videos, K].
        positive: of any of the K classes.

    Returns:
        float64 [K], 0..1; nan for a class that no video has.
    """
    found = np.full(scores.shape[1], np.nan)
    for classes, ranked, hits in _ranked(scores, positive):
        ends, total = _ends(ranked), hits[:, -1]
        before = np.maximum.accumulate(np.where(ends, hits, 0), axis=1)[:, :-1]  # hits up to the end of the score before
        new = hits - np.pad(before, ((0, 0), (1, 0)))
        sums = np.where(ends, new * (hits / np.arange(1, ranked.shape[1] + 1)), 0.0).sum(1)
        found[classes] = np.where(total > 0, sums / np.maximum(total, 1), np.nan)
    return found


def best_thresholds(scores: NDArray[np.floating], positive: Positive) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the threshold of each class that gives the best F1, if videos whose score reaches it are said to have the class.

    It stands midway between two scores of the list, so that a score's last digit decides nothing; between the lowest one and 0
    where all videos are best said to have the class. Of equally good ones it is the highest.

    Args:
        scores: probabilities [videos, K].
        positive: of any of the K classes.

    Returns:
        (thresholds, F1), float64 [K] both; of a class that no video has 0.5 and nan.
    """
    thresholds, best = np.full(scores.shape[1], NO_VIDEO_THRESHOLD), np.full(scores.shape[1], np.nan)
    for classes, ranked, hits in _ranked(scores, positive):
        total, rows = hits[:, -1], np.arange(len(hits))
        f1 = np.where(_ends(ranked), 2 * hits / (np.arange(1, ranked.shape[1] + 1) + total[:, None]), -1.0)
        at = f1.argmax(1)
        lower = np.pad(ranked, ((0, 0), (0, 1)))[rows, at + 1].astype(np.float64)
        thresholds[classes] = np.where(total > 0, (ranked[rows, at].astype(np.float64) + lower) / 2, NO_VIDEO_THRESHOLD)
        best[classes] = np.where(total > 0, f1[rows, at], np.nan)
    return thresholds, best


def _ranked(
    scores: NDArray[np.floating], positive: Positive
) -> Iterator[tuple[slice, NDArray[np.floating], NDArray[np.int64]]]:
    """Yields some classes at a time, [classes, videos]: their scores, the highest first; how many videos up to each have it."""
    videos, num_classes = scores.shape
    width = max(_AT_ONCE // max(videos, 1), 1)
    for start in range(0, num_classes if videos else 0, width):
        classes = slice(start, min(start + width, num_classes))
        part = np.ascontiguousarray(scores[:, classes].T)  # sorted and summed up along what lies side by side
        order = np.argsort(-part, axis=1)
        hits = np.take_along_axis(positive(classes).T, order, 1).cumsum(1, dtype=np.int64)
        yield classes, np.take_along_axis(part, order, 1), hits


def _ends(ranked: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Says which is the last of the videos that have the same score."""
    return np.pad(ranked[:, :-1] != ranked[:, 1:], ((0, 0), (0, 1)), constant_values=True)
