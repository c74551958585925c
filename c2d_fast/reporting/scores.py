"""What a model says of the videos of a list, and how often it is right."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c2d_fast.reporting.ranking import average_precision, best_thresholds

_LEAST = 1e-12
"""Probabilities below it count as it: their logarithms stay finite."""
_ROWS = 1 << 14
"""Videos whose scores are held in float64 at a time."""


def hits(scores: Tensor, label: Tensor, k: int) -> Tensor:
    """Says which rows have their label among the k highest scores: bool [N].

    Args:
        scores: float [N, K]; k may exceed K.
        label: int64 [N].
        k: how many guesses count.
    """
    guesses = scores.topk(min(k, scores.shape[1])).indices
    return (guesses == label[:, None]).any(1)


def target_hits(scores: Tensor, targets: Tensor, k: int) -> Tensor:
    """Says which rows have any of their labels among the k highest scores: bool [N].

    Args:
        scores: float [N, K]; k may exceed K.
        targets: float [N, K], above 0 where the video has the class.
        k: how many guesses count.
    """
    guesses = scores.topk(min(k, scores.shape[1])).indices
    return (targets.gather(1, guesses) > 0).any(1)


def one_hot(label: Tensor, num_classes: int) -> Tensor:
    """Returns float32 [N, num_classes], 1 at each label, on its device; rows of labels below 0 are 0. Waits for nothing."""
    return (label[:, None] == torch.arange(num_classes, device=label.device)).float()


class Headline(NamedTuple):
    """The figure that says which of two models is better."""

    name: str
    """In words: top-1 or mAP."""
    key: str
    """Of metrics(): top1 or mAP."""
    value: float
    """Per cent."""


@dataclass(frozen=True)
class Scores:
    """What the model says of each video of a list.

    A video counts in the figures if it was scored and the list says something of it. Where it has no label (below 0; of kind
    soft, targets that are all 0) the list says nothing. But of kind several that means that the video has none of the classes:
    it counts in the loss and in average precision, as a negative of all, and in no accuracy; unless the recipe ignores it.
    """

    scores: Tensor
    """Class probabilities, float32 [videos, K], on the CPU, in the plan's order."""
    scored: Tensor
    """bool [videos]: False where a video turned out to be broken."""
    labels: Tensor
    """int64 [videos], below 0 where there is none; of several one of them."""
    num_listed: int | None = None
    """Videos in the list, broken ones included; None: as many as have a row here."""
    targets: Tensor | None = None
    """float32 [videos, K], 1 (or a share) where a video has the class; None: the labels say it all, as of kind "single"."""
    kind: str = "single"
    """What labels mean (recipe.Labels.kind): single, several or soft. The latter two need targets."""
    ignores: bool = False
    """Of kind several: whether the list says nothing of videos without a label (recipe.Labels.ignore is not None)."""

    def __post_init__(self) -> None:
        assert (self.kind == "single") == (self.targets is None), self.kind

    def coverage_text(self) -> str:
        """Returns ", n of m videos" where not all of the list could be scored, otherwise nothing."""
        listed = len(self.labels) if self.num_listed is None else self.num_listed
        return "" if self.num_scored == listed else f", {self.num_scored} of {listed} videos"

    @property
    def num_scored(self) -> int:
        """Videos that have a score."""
        return int(self.scored.sum())

    @cached_property
    def counted(self) -> Tensor:
        """Which videos count in the loss and in average precision, bool [videos]."""
        if self.kind == "several" and not self.ignores:
            return self.scored
        counted = self.scored & (self.labels >= 0)
        return counted & (self.targets > 0).any(1) if self.targets is not None and self.kind == "soft" else counted

    @cached_property
    def has_class(self) -> Tensor:
        """Which videos count in accuracies, bool [videos]: those that have a class."""
        return self.counted & (self.targets > 0).any(1) if self.targets is not None else self.counted

    def top(self, k: int) -> float:
        """Returns the share of videos with a class that have any of theirs among the k best classes, in per cent."""
        return 100 * float(self._hits(k).double().mean())

    def mean_class_accuracy(self) -> float:
        """Returns the mean over the list's classes of the share of their videos that are recognised, in per cent.

        A video with several labels is one of each of their classes, and is recognised if the best class is any of them; with
        shares it counts in each by its share.
        """
        if self.targets is None:
            labels = self.labels[self.has_class]
            videos, right = torch.bincount(labels), torch.bincount(labels, self._hits(1).double())
        else:
            targets = self.targets[self.has_class]
            videos = targets.sum(0, dtype=torch.float64)
            right = targets[self._hits(1)].sum(0, dtype=torch.float64)
        return 100 * float((right[videos > 0] / videos[videos > 0]).mean())

    def loss(self) -> float:
        """Returns the mean loss over the videos: what training minimises, of probabilities, without weights and smoothing.

        Of kind single the negative log likelihood, of kind soft the cross entropy with the shares, of kind several the binary
        cross entropy, a mean over classes, too.
        """
        if self.targets is None:
            # A broken video may have no label at all. It is left out where a row has one number, not all classes.
            likelihood = self.scores.gather(1, self.labels.clamp_min(0)[:, None])[self.counted].double()
            return float(-likelihood.clamp_min(_LEAST).log().mean())
        total, rows = 0.0, self.counted.nonzero()[:, 0]
        for some in rows.split(_ROWS):
            scores, targets = self.scores[some].double(), self.targets[some].double()
            of_class = targets * scores.clamp_min(_LEAST).log()
            if self.kind == "several":
                of_class += (1 - targets) * (1 - scores).clamp_min(_LEAST).log()
            total -= float(of_class.sum())
        count = len(rows) * (self.scores.shape[1] if self.kind == "several" else 1)
        return total / count if count else float("nan")

    def average_precision(self) -> Tensor:
        """Returns the average precision of each class, in per cent, float64 [K]; nan for a class that no video has."""
        return torch.from_numpy(self._average_precision)

    def mean_average_precision(self) -> float:
        """Returns the mean of the average precisions of the classes that any video has, in per cent; nan without one."""
        known = self._average_precision[~np.isnan(self._average_precision)]
        return float(known.mean()) if len(known) else float("nan")

    def best_thresholds(self) -> tuple[Tensor, Tensor]:
        """Returns each class's threshold of the best F1, and this, float64 [K] both; of a class without a video 0.5 and nan."""
        thresholds, f1 = best_thresholds(self._probabilities, self._positive)
        return torch.from_numpy(thresholds), torch.from_numpy(f1)

    def metrics(self) -> dict[str, float]:
        """Returns what validation records: loss, top1, top5 and mean_class_accuracy (per cent), videos; of kind several mAP."""
        figures = {
            "loss": self.loss(),
            "top1": self.top(1),
            "top5": self.top(5),
            "mean_class_accuracy": self.mean_class_accuracy(),
            "videos": self.num_scored,
        }
        return figures | ({"mAP": self.mean_average_precision()} if self.kind == "several" else {})

    @property
    def headline(self) -> Headline:
        """What best.pt is chosen by: top-1, and mAP of kind several."""
        if self.kind == "several":
            return Headline("mAP", "mAP", self.mean_average_precision())
        return Headline("top-1", "top1", self.top(1))

    def guesses(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns the best class and the label of each video with one label, int64 both: what a confusion is counted of."""
        # The guesses are picked out, not the scores: those are a row of all classes for each video.
        return self.scores.argmax(1)[self.has_class].numpy(), self.labels[self.has_class].numpy()

    def videos_of_classes(self) -> NDArray[np.int64]:
        """Returns how many videos that count have each class, int64 [K]."""
        videos: NDArray[np.int64] = self._positive(slice(None)).sum(0)
        return videos

    @cached_property
    def _average_precision(self) -> NDArray[np.float64]:
        return 100 * average_precision(self._probabilities, self._positive)

    @cached_property
    def _probabilities(self) -> NDArray[np.float32]:
        counted = self.scores if self.counted.all() else self.scores[self.counted]
        probabilities: NDArray[np.float32] = counted.numpy()
        return probabilities

    def _positive(self, classes: slice) -> NDArray[np.bool_]:
        if self.targets is not None:
            has = self.targets[:, classes][self.counted] > 0
        else:
            has = self.labels[self.counted][:, None] == torch.arange(self.scores.shape[1])[classes]
        positive: NDArray[np.bool_] = has.numpy()
        return positive

    def _hits(self, k: int) -> Tensor:
        of_all = hits(self.scores, self.labels, k) if self.targets is None else target_hits(self.scores, self.targets, k)
        return of_all[self.has_class]
