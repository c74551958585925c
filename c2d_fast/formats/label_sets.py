"""The labels of very many videos, any number of them each, with their weights. Numpy only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_LABEL = -1
"""In place of a label, where a video has none."""
_ROWS = 2**20  # videos that are looked at together


@dataclass(frozen=True, eq=False)
class LabelSets:
    """Each video's classes with their weights, all videos one after another."""

    ends: NDArray[np.int64]
    """Where each video's entries end, [videos]."""
    classes: NDArray[np.int32]
    """[entries]; of a video no class twice."""
    weights: NDArray[np.float32]
    """[entries], above 0, 1 at most; 1 of a label that is no share."""

    @classmethod
    def from_pairs(cls, videos: Iterable[Iterable[tuple[int, float]]]) -> "LabelSets":
        """Returns the sets of (class, weight) of each video; of weight 0 is what is no label.

        Raises:
            ValueError: a class is negative, too large or there twice, or a weight is not 0 to 1. The message ends a sentence.
        """
        ends, classes, weights = [], list[int](), list[float]()
        for pairs in videos:
            before = len(classes)
            for label, weight in pairs:
                if not (0 <= label < 2**31 and 0 <= weight <= 1):
                    raise ValueError(f"label {label} has the weight {weight:g}: labels go from 0 up, and weights from 0 to 1")
                if label in classes[before:]:
                    raise ValueError(f"label {label} is there twice")
                if np.float32(weight) > 0:
                    classes.append(label)
                    weights.append(weight)
            ends.append(len(classes))
        return cls(np.array(ends, np.int64), np.array(classes, np.int32), np.array(weights, np.float32))

    @classmethod
    def from_labels(cls, labels: NDArray[Any]) -> "LabelSets":
        """Returns the sets of videos that have one label each, or none: integers [videos], NO_LABEL where there is none."""
        has_one = labels >= 0
        count = int(has_one.sum())
        return cls(np.cumsum(has_one, dtype=np.int64), labels[has_one].astype(np.int32), np.ones(count, np.float32))

    def __len__(self) -> int:
        return len(self.ends)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LabelSets):
            return NotImplemented
        pairs = ((self.ends, other.ends), (self.classes, other.classes), (self.weights, other.weights))
        return all(np.array_equal(one, its) for one, its in pairs)

    __hash__ = None  # type: ignore[assignment]  # it holds arrays

    def columns(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Returns all that it holds."""
        return self.ends, self.classes, self.weights

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Returns how many labels each video has: int64 [videos]."""
        return np.diff(self.ends, prepend=np.int64(0))

    @property
    def sums(self) -> NDArray[np.float64]:
        """Returns the sum of each video's weights: float64 [videos]."""
        before = np.concatenate([np.zeros(1), np.cumsum(self.weights, dtype=np.float64)])
        sums: NDArray[np.float64] = before[self.ends] - before[self.ends - self.lengths]
        return sums

    @property
    def largest(self) -> int:
        """Returns the largest class; NO_LABEL where there is none."""
        return int(self.classes.max()) if len(self.classes) else NO_LABEL

    @property
    def odd(self) -> NDArray[np.bool_]:
        """Says of each video whether it has several labels, or a weight below 1: bool [videos]."""
        odd = self.lengths > 1
        odd[self.owners(np.flatnonzero(self.weights != 1))] = True
        return odd

    def owners(self, entries: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns which video each of some entries is of: int64, as entries."""
        return np.searchsorted(self.ends, entries, "right")

    def of(self, index: int) -> list[tuple[int, float]]:
        """Returns a video's (class, weight), in the order of the list."""
        start, end = int(self.ends[index - 1]) if index else 0, int(self.ends[index])
        return list(zip(self.classes[start:end].tolist(), self.weights[start:end].tolist(), strict=True))

    def text(self, index: int) -> str:
        """Returns a video's labels as a line of a list has them: `3,5`, `3:0.7,5:0.3`, or `-1` for none."""
        start, end = int(self.ends[index - 1]) if index else 0, int(self.ends[index])
        return label_text(self.classes[start:end], self.weights[start:end])

    def heaviest(self) -> NDArray[np.int64]:
        """Returns each video's class of the largest weight, of like ones the first: int64 [videos], NO_LABEL of no label."""
        heaviest, lengths = np.full(len(self), NO_LABEL, np.int64), self.lengths
        filled = np.flatnonzero(lengths)
        if len(filled):
            most = np.maximum.reduceat(self.weights, (self.ends - lengths)[filled])
            places = np.flatnonzero(self.weights == np.repeat(most, lengths[filled]))
            owners, firsts = np.unique(self.owners(places), return_index=True)
            heaviest[owners] = self.classes[places[firsts]]
        return heaviest

    def take(self, rows: NDArray[Any]) -> "LabelSets":
        """Returns the sets of some videos, in the order of rows: integers [any]."""
        entries, ends = self._entries(rows)
        return LabelSets(ends, self.classes[entries], self.weights[entries])

    def targets(self, rows: NDArray[Any], num_classes: int) -> NDArray[np.float32]:
        """Returns what a model is to say of some videos: float32 [rows, num_classes], the weights, 0 of other classes.

        Raises:
            ValueError: one of them has a class that is num_classes or more.
        """
        entries, ends = self._entries(rows)
        owners, classes = np.repeat(np.arange(len(rows)), np.diff(ends, prepend=np.int64(0))), self.classes[entries]
        if len(classes) and int(classes.max()) >= num_classes:
            raise ValueError(f"label {classes.max()} is none of {num_classes} classes")
        targets = np.zeros((len(rows), num_classes), np.float32)
        targets[owners, classes] = self.weights[entries]
        return targets

    def renumbered(self, known: NDArray[np.int64], numbers: NDArray[np.int64]) -> "LabelSets":
        """Returns the sets with other numbers in place of the classes known, which rise; NO_LABEL: without that label."""
        classes = numbers[np.searchsorted(known, self.classes)] if len(known) else np.zeros(0, np.int64)
        keeps = classes >= 0
        kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(keeps)])
        return LabelSets(kept[self.ends], classes[keeps].astype(np.int32), self.weights[keeps])

    def is_sensible(self, num_classes: int | None) -> bool:
        """Says whether they are what they must be, whoever has written them; with classes below a number, where it is given."""
        ends, classes, weights = self.columns()
        rises = bool((np.diff(ends, prepend=np.int64(0)) >= 0).all())
        rises = rises and not (
            len(ends) and (int(ends.min()) < 0 or int(ends.max()) > len(classes))
        )  # differences may overflow
        if not rises or len(classes) != len(weights) or (int(ends[-1]) if len(ends) else 0) != len(classes):
            return False
        is_class = (classes >= 0) & (classes < (2**31 if num_classes is None else num_classes))
        if not (is_class.all() and ((weights > 0) & (weights <= 1)).all()):  # nothing is compared with NaN
            return False
        return not any(self._has_twice(first) for first in range(0, len(ends), _ROWS))

    def _has_twice(self, first: int) -> bool:
        """Says whether one of some videos, from one on, has a class twice."""
        lengths = self.lengths[first : first + _ROWS]
        start = int(self.ends[first - 1]) if first else 0
        keys = np.repeat(np.arange(len(lengths)), lengths) << 32 | self.classes[start : start + int(lengths.sum())]
        keys.sort()
        return bool((keys[1:] == keys[:-1]).any())

    def _entries(self, rows: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns the entries of some videos, and where each one's end among these: int64 [entries], int64 [rows]."""
        rows = np.asarray(rows, np.int64)
        starts = np.where(rows > 0, self.ends[rows - 1], 0) if len(rows) else np.zeros(0, np.int64)
        lengths = self.ends[rows] - starts
        ends = np.cumsum(lengths)
        return np.arange(int(lengths.sum())) + np.repeat(starts - (ends - lengths), lengths), ends


def joined(parts: Sequence[LabelSets]) -> LabelSets:
    """Returns the sets of several lists, one behind another; one at least."""
    offsets = np.cumsum([0, *(len(part.classes) for part in parts)])
    ends = [part.ends + offset for part, offset in zip(parts, offsets.tolist(), strict=False)]
    return LabelSets(
        np.concatenate(ends), np.concatenate([part.classes for part in parts]), np.concatenate([part.weights for part in parts])
    )


def chosen(sets: LabelSets | None, rows: NDArray[Any]) -> LabelSets | None:
    """Returns the sets of some videos, where there are any; as take."""
    return None if sets is None else sets.take(rows)


def label_text(classes: NDArray[Any], weights: NDArray[np.float32]) -> str:
    """Returns the labels of one video as a line of a list has them; read again they are the same to the bit."""
    words = [
        str(label) if weight == 1 else f"{label}:{np.format_float_positional(weight, trim='-')}"
        for label, weight in zip(classes.tolist(), weights, strict=True)
    ]
    return ",".join(words) or str(NO_LABEL)
