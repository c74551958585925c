"""Counts hits on the device, so that keeping score never waits for the GPU."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from c2d_fast.distributed import Group


def hits(scores: Tensor, label: Tensor, k: int) -> Tensor:
    """Says which rows have their label among the k highest scores: bool [N].

    Args:
        scores: float [N, K]; k may exceed K.
        label: int64 [N].
        k: how many guesses count.
    """
    guesses = scores.topk(min(k, scores.shape[1])).indices
    return (guesses == label[:, None]).any(1)


class Tally:
    """Sums of loss and hits over batches, kept on the device until they are asked for."""

    def __init__(self, device: torch.device, sums: Sequence[float] = (0, 0, 0)):
        """Begins with nothing, or with what sums() has returned."""
        self._sums = torch.tensor(sums, dtype=torch.float64, device=device)  # of losses, of hits, of clips

    def add(self, figures: Tensor) -> None:
        """Adds what figures() says of a batch, or the sum of several batches."""
        self._sums += figures

    def sums(self, group: Group) -> list[float]:
        """Returns the sums over all ranks. Waits for the device."""
        sums: list[float] = group.sum(self._sums.clone()).tolist()
        return sums

    def read(self, group: Group) -> tuple[float, float]:
        """Returns (mean loss, top-1 in per cent) over all ranks, nan without a clip, and starts again. Waits for the device."""
        loss, correct, count = self.sums(group)
        self._sums.zero_()
        return (loss / count, 100 * correct / count) if count else (math.nan, math.nan)


def figures(loss: Tensor, logits: Tensor, label: Tensor) -> Tensor:
    """Returns [sum of losses, hits, clips] of a batch, float64, from its mean loss, logits [N, K] and labels [N]."""
    count = torch.full_like(loss, len(label), dtype=torch.float64)
    return torch.stack([loss.detach().double() * len(label), hits(logits.detach(), label, 1).sum().double(), count])
