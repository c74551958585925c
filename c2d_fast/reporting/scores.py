"""What a model says of the videos of a list, and how often it is right."""

from dataclasses import dataclass

import torch
from torch import Tensor


def hits(scores: Tensor, label: Tensor, k: int) -> Tensor:
    """Says which rows have their label among the k highest scores: bool [N].

    Args:
        scores: float [N, K]; k may exceed K.
        label: int64 [N].
        k: how many guesses count.
    """
    guesses = scores.topk(min(k, scores.shape[1])).indices
    return (guesses == label[:, None]).any(1)


@dataclass(frozen=True)
class Scores:
    """What the model says of each video of a list."""

    scores: Tensor
    """Class probabilities, float32 [videos, K], on the CPU, in the plan's order."""
    scored: Tensor
    """bool [videos]: False where a video turned out to be broken."""
    labels: Tensor
    """int64 [videos]."""
    num_listed: int | None = None
    """Videos in the list, broken ones included; None: as many as have a row here."""

    def coverage_text(self) -> str:
        """Returns ", n of m videos" where not all of the list could be scored, otherwise nothing."""
        listed = len(self.labels) if self.num_listed is None else self.num_listed
        return "" if self.num_scored == listed else f", {self.num_scored} of {listed} videos"

    @property
    def num_scored(self) -> int:
        """Videos that have a score."""
        return int(self.scored.sum())

    def top(self, k: int) -> float:
        """Returns the share of scored videos whose label is among the k best classes, in per cent."""
        return 100 * float(self._hits(k).double().mean())

    def mean_class_accuracy(self) -> float:
        """Returns the mean over the list's classes of the share of their videos that are recognised, in per cent."""
        labels = self.labels[self.scored]
        videos, right = torch.bincount(labels), torch.bincount(labels, self._hits(1).double())
        return 100 * float((right[videos > 0] / videos[videos > 0]).mean())

    def loss(self) -> float:
        """Returns the mean negative log likelihood over the scored videos."""
        # A broken video may have no label at all. It is left out where a row has one number, not all classes.
        likelihood = self.scores.gather(1, self.labels.clamp_min(0)[:, None])[self.scored].double()
        return float(-likelihood.clamp_min(1e-12).log().mean())

    def _hits(self, k: int) -> Tensor:
        return hits(self.scores, self.labels, k)[self.scored]
