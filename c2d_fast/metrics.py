"""Counts hits on the device, so that keeping score never waits for the GPU."""

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


class Tally:
    """Sums of loss and hits over batches, kept on the device until they are asked for."""

    def __init__(self, device: torch.device):
        self._sums = torch.zeros(2, dtype=torch.float64, device=device)
        self._count = 0

    def add(self, loss: Tensor, logits: Tensor, label: Tensor) -> None:
        """Adds a batch: its mean loss, logits [N, K] and labels [N]."""
        self._sums += torch.stack([loss.detach().double() * len(label), hits(logits.detach(), label, 1).sum().double()])
        self._count += len(label)

    def read(self) -> tuple[float, float]:
        """Returns (mean loss, top-1 in per cent) and starts again. Waits for the device."""
        (loss, correct), count = self._sums.tolist(), max(self._count, 1)
        self._sums.zero_()
        self._count = 0
        return loss / count, 100 * correct / count
