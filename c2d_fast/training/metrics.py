"""Counts hits on the device, so that keeping score never waits for the GPU."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

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


def batch_sums(loss: Tensor, logits: Tensor, label: Tensor, targets: Tensor | None = None, *, ignores: bool = False) -> Tensor:
    """Returns [sum of losses, top-1 hits, top-5 hits, clips] of a batch, float64.

    Args:
        loss: its mean.
        logits: float [N, K].
        label: int64 [N]; below 0 where there is none: such clips count in no hits.
        targets: float32 [N, K], where a clip may have several labels: any of them is a hit.
        ignores: clips without a label are none of the loss's either, where there are targets.
    """
    guesses = logits.detach().topk(min(5, logits.shape[1])).indices
    right = guesses == label[:, None] if targets is None else targets.gather(1, guesses) > 0
    hits = [right[:, :k].any(1).sum().double() for k in (1, 5)]
    only_labelled = targets is None or ignores
    count = (label >= 0).sum().double() if only_labelled else torch.full_like(loss, len(label), dtype=torch.float64)
    return torch.stack([loss.detach().double() * count, *hits, count])


def _ratio(total: float, count: float) -> float:
    return total / count if count else math.nan
