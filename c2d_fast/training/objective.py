"""The loss: of labels, single, several or soft, and of a teacher. Everything stays on the device."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from c2d_fast.formats.label_sets import NO_LABEL
from c2d_fast.loading.batch import Batch
from c2d_fast.recipe import Distill, Labels, Recipe
from c2d_fast.reporting.scores import one_hot
from c2d_fast.training.mixing import Mix


@dataclass(frozen=True)
class Targets:
    """What the logits of a batch are compared with."""

    label: Tensor
    """int64 [N]; NO_LABEL where there is none."""
    shares: Tensor | None
    """float32 [N, K], where labels are several, soft or mixed, of the part of a clip that has a label; None: label says it
    all."""
    labelled: Tensor | None
    """How much of each clip has a label, float32 [N]; None: all of each."""


@dataclass(frozen=True)
class Objective:
    """Computes the loss that a recipe asks for; by default the cross entropy of single labels, as published."""

    num_classes: int
    labels: Labels = field(default_factory=Labels)
    label_smoothing: float = 0.0
    mixes: bool = False
    """Whether batches may be mixed: then all of them have shares, and are weighed alike."""
    distill: Distill | None = None
    class_weights: Tensor | None = None
    """float32 [K], on the device."""

    @classmethod
    def of(cls, recipe: Recipe, class_weights: Tensor | None = None) -> "Objective":
        """Returns the one of a recipe."""
        return cls(
            recipe.model.num_classes,
            recipe.labels,
            recipe.training.label_smoothing,
            recipe.augment.mixes,
            recipe.distill,
            class_weights,
        )

    def targets(self, batch: Batch, mix: Mix) -> Targets:
        """Returns what a batch's logits are compared with, mixed as its clips are."""
        label, ignores = batch.label, self.labels.ignore is not None
        if self.labels.kind == "single" and not self.mixes:
            return Targets(label, None, (label != NO_LABEL).float() if ignores else None)
        shares = batch.targets
        if shares is None:
            shares = one_hot(label, self.num_classes)
        if not ignores:
            return Targets(label, mix.rows(shares), None)
        # Of a clip that is mixed with one without a label, the loss is that of the labelled part, times how much it is.
        labelled = mix.rows((label != NO_LABEL).float())
        return Targets(label, mix.rows(shares) / labelled.clamp_min(_TINY)[:, None], labelled)

    def __call__(self, logits: Tensor, targets: Targets, teacher: Tensor | None = None) -> Tensor:
        """Computes the mean loss of a batch.

        Args:
            logits: float32 [N, K].
            targets: of the batch.
            teacher: the teacher's probabilities at the recipe's temperature, float32 [N, K], where there is one.
        """
        loss = self._of_labels(logits, targets)
        if teacher is None or self.distill is None:
            return loss
        temperature, weight = self.distill.temperature, self.distill.weight
        of_teacher = F.kl_div((logits / temperature).log_softmax(1), teacher, reduction="batchmean")
        # The softened gradients are smaller by the square of the temperature (Hinton et al. 2015, section 2).
        return (1 - weight) * loss + weight * temperature**2 * of_teacher

    def _of_labels(self, logits: Tensor, targets: Targets) -> Tensor:
        smoothing, weights = self.label_smoothing, self.class_weights
        if targets.labelled is None:
            if targets.shares is None:
                return F.cross_entropy(logits, targets.label, weights, label_smoothing=smoothing)
            if self.labels.kind == "several":
                return self._binary(logits, targets.shares).mean()
            return F.cross_entropy(logits, targets.shares, weights, label_smoothing=smoothing)
        if targets.shares is None:
            losses = F.cross_entropy(
                logits, targets.label, weights, ignore_index=NO_LABEL, reduction="none", label_smoothing=smoothing
            )
            each = targets.labelled if weights is None else targets.labelled * weights[targets.label.clamp_min(0)]
            return losses.sum() / each.sum().clamp_min(_TINY)  # also where a batch has no label at all
        if self.labels.kind == "several":
            losses = self._binary(logits, targets.shares).mean(1)
        else:
            losses = F.cross_entropy(logits, targets.shares, weights, reduction="none", label_smoothing=smoothing)
        return (losses * targets.labelled).sum() / targets.labelled.sum().clamp_min(_TINY)

    def _binary(self, logits: Tensor, shares: Tensor) -> Tensor:
        """Returns the binary cross entropy of each class, float32 [N, K]."""
        if self.label_smoothing:
            shares = shares * (1 - self.label_smoothing) + self.label_smoothing / self.num_classes
        return F.binary_cross_entropy_with_logits(logits, shares, reduction="none", pos_weight=self.class_weights)


_TINY = 1e-12


def class_weights(kind: str, counts: Sequence[float], num_videos: int) -> Tensor:
    """Returns how much each class counts in a loss, so that rare ones count as frequent ones do: float32 [K], on the CPU.

    Args:
        kind: of labels. Of single and soft ones it is videos / (classes that have any x videos of the class); of several the
            factor of the class's positive videos: its negative ones / its positive ones; 1 where there are no negative ones,
            or the class would never be learnt.
        counts: videos of each class, or the sum of their shares.
        num_videos: of the list.
    """
    known = torch.tensor(counts, dtype=torch.float64)
    if kind == "several":
        weights = (num_videos - known) / known
    else:
        weights = known.sum() / ((known > 0).sum() * known)
    return torch.where((known > 0) & (weights > 0), weights, torch.ones_like(weights)).float()
