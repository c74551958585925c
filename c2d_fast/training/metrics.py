"""Counts hits on the device, so that keeping score never waits for the GPU."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from c2d_fast.reporting.scores import hits
from c2d_fast.training.distributed import Group


class RunningMetrics:
    """Sums over batches and steps, kept on the device until they are asked for."""

    SIZE = 6
    """Numbers in it: sums of losses, top-1 hits, top-5 hits, clips; of gradient norms, steps."""

    def __init__(self, device: torch.device, sums: Sequence[float] = ()):
        """Begins with nothing, or with what sums() has returned."""
        # A checkpoint of an earlier version has other sums: they are those of a few steps, and are let go.
        sums = sums if len(sums) == self.SIZE else [0.0] * self.SIZE
        self._sums = torch.tensor(sums, dtype=torch.float64, device=device)

    def add(self, batch_sums: Tensor, norm: Tensor, steps: Tensor) -> None:
        """Adds batch_sums() of a batch, or the sum of several, with the gradient's norm and the number of steps."""
        self._sums += torch.cat([batch_sums, torch.stack([norm.double(), steps.double()])])

    def sums(self, group: Group) -> list[float]:
        """Returns the sums over all ranks. Waits for the device."""
        sums: list[float] = group.sum(self._sums.clone()).tolist()
        return sums

    def read(self, group: Group) -> dict[str, float]:
        """Returns the means over all ranks, nan without a clip, and starts again. Waits for the device.

        Returns:
            loss, top1 and top5 (per cent), and gradient_norm, that of the averaged gradient before it is clipped.
        """
        loss, top1, top5, clips, norm, steps = self.sums(group)
        self._sums.zero_()
        return {
            "loss": _ratio(loss, clips),
            "top1": _ratio(100 * top1, clips),
            "top5": _ratio(100 * top5, clips),
            "gradient_norm": _ratio(norm, steps),
        }


def batch_sums(loss: Tensor, logits: Tensor, label: Tensor) -> Tensor:
    """Returns [sum of losses, top-1 hits, top-5 hits, clips] of a batch, float64.

    Args:
        loss: its mean.
        logits: float [N, K].
        label: int64 [N].
    """
    count = torch.full_like(loss, len(label), dtype=torch.float64)
    right = [hits(logits.detach(), label, k).sum().double() for k in (1, 5)]
    return torch.stack([loss.detach().double() * len(label), *right, count])


def _ratio(total: float, count: float) -> float:
    return total / count if count else math.nan
