"""Counts which class was taken for which. Of many classes only the pairs that occur are held."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

MOST_IN_FULL = 500
"""Most classes whose confusion is held and drawn as a matrix of all with all."""


@dataclass(frozen=True)
class Confusion:
    """How often each class was taken for each: the pairs that occur, sorted by label and guess."""

    num_classes: int
    labels: NDArray[np.int64]
    guesses: NDArray[np.int64]
    counts: NDArray[np.int64]
    """Of the pairs, above 0; all three are [pairs], and there are no more pairs than videos."""

    @cached_property
    def videos(self) -> NDArray[np.int64]:
        """Videos of each class, int64 [K]."""
        return self._by_label(self.counts)

    @cached_property
    def correct(self) -> NDArray[np.int64]:
        """Videos of each class that were recognised, int64 [K]."""
        return self._by_label(np.where(self.labels == self.guesses, self.counts, 0))

    @cached_property
    def accuracy(self) -> NDArray[np.float64]:
        """Share of each class's videos that were recognised, [K], nan for classes without a video."""
        return np.where(self.videos, self.correct / np.maximum(self.videos, 1), np.nan)

    @cached_property
    def off_diagonal(self) -> "Confusion":
        """The pairs of different classes, the most frequent first."""
        wrong = np.flatnonzero(self.labels != self.guesses)
        order = wrong[np.argsort(-self.counts[wrong], kind="stable")]
        return Confusion(self.num_classes, self.labels[order], self.guesses[order], self.counts[order])

    def most_confused_with(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns for each class what it is most often taken for, and how often, int64 [K] both: 0 times where never."""
        guess, times = np.zeros((2, self.num_classes), np.int64)
        wrong = self.off_diagonal
        labels, first = np.unique(wrong.labels, return_index=True)
        guess[labels], times[labels] = wrong.guesses[first], wrong.counts[first]
        return guess, times

    def most_confused_classes(self, most: int) -> NDArray[np.int64]:
        """Returns the classes of the most frequent mix-ups, those first that are mixed up most; filled up with others."""
        pairs = np.stack([self.off_diagonal.labels[:most], self.off_diagonal.guesses[:most]], 1).reshape(-1)
        others = np.flatnonzero(self.videos)[: 2 * most]
        return np.array(list(dict.fromkeys([*pairs.tolist(), *others.tolist(), *range(self.num_classes)[:most]]))[:most])

    def submatrix(self, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the counts of some classes, int64 [n, n + 1]: rows are labels, columns guesses, the last one all others."""
        column = np.full(self.num_classes, len(classes))
        column[classes] = np.arange(len(classes))
        block = np.zeros((len(classes) + 1, len(classes) + 1), np.int64)
        np.add.at(block, (column[self.labels], column[self.guesses]), self.counts)
        return block[:-1]

    def _by_label(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        sums = np.zeros(self.num_classes, np.int64)
        np.add.at(sums, self.labels, counts)
        return sums


Counts = NDArray[np.int64] | Confusion
"""int64 [K, K], rows are labels, columns guesses; or the pairs alone."""


def count_pairs(labels: NDArray[np.integer], guesses: NDArray[np.integer], num_classes: int) -> Confusion:
    """Counts the pairs that occur.

    Args:
        labels: integers [N], 0 <= label < num_classes.
        guesses: integers [N], of the same range.
        num_classes: K.
    """
    codes = labels.astype(np.int64) * num_classes + guesses.astype(np.int64)
    pairs, counts = np.unique(codes, return_counts=True)
    return Confusion(num_classes, pairs // num_classes, pairs % num_classes, counts.astype(np.int64))


def as_confusion(counts: Counts) -> Confusion:
    """Returns the pairs that occur."""
    if isinstance(counts, Confusion):
        return counts
    labels, guesses = counts.nonzero()
    return Confusion(len(counts), labels.astype(np.int64), guesses.astype(np.int64), counts[labels, guesses].astype(np.int64))


def confusion_counts(labels: NDArray[np.integer], guesses: NDArray[np.integer], num_classes: int) -> Counts:
    """Counts how often each class was taken for each. Arguments as count_pairs.

    Returns:
        int64 [K, K], rows are labels, columns guesses; of more than 500 classes the pairs that occur.
    """
    confusion = count_pairs(labels, guesses, num_classes)
    if num_classes > MOST_IN_FULL:
        return confusion
    counts = np.zeros((num_classes, num_classes), np.int64)
    counts[confusion.labels, confusion.guesses] = confusion.counts
    return counts
