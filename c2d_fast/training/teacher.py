"""What a teacher says of a batch: a model that is shown the same clips, or scores that were stored of each video."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from c2d_fast.loading.batch import Batch
from c2d_fast.model.precision import Precision
from c2d_fast.training.mixing import Mix

_LEAST = 1e-12
"""Scores that are stored as less are taken for this: a logarithm is taken of them."""


class Teacher(Protocol):
    """Gives probabilities."""

    def __call__(self, batch: Batch, clip: Tensor, mix: Mix) -> Tensor:
        """Returns the teacher's probabilities at its temperature, float32 [N, K].

        Args:
            batch: whose videos these are.
            clip: as the student is shown it.
            mix: how it was mixed.
        """
        ...


@dataclass(frozen=True)
class ModelTeacher:
    """A model on the student's device, in evaluation mode."""

    model: nn.Module
    temperature: float
    precision: Precision

    @torch.no_grad()
    def __call__(self, batch: Batch, clip: Tensor, mix: Mix) -> Tensor:
        """As in Teacher: of the clips as they are mixed."""
        with self.precision.autocast(clip.device):
            logits: Tensor = self.model(clip)
        return (logits.float() / self.temperature).softmax(1)


class StoredTeacher:
    """Scores of every video of the training list."""

    def __init__(self, scores: Tensor, temperature: float):
        """Keeps the scores on their device.

        Args:
            scores: class probabilities, float32 [videos, K], by index in the plan.
            temperature: of the softmax. Probabilities are softened to it: their logarithms are logits.
        """
        self._scores = (scores.clamp_min(_LEAST).log() / temperature).softmax(1)

    def __call__(self, batch: Batch, clip: Tensor, mix: Mix) -> Tensor:
        """As in Teacher: mixed as the clips are."""
        return mix.rows(self._scores[batch.index])
