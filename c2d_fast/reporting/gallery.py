"""Picks clips to be looked at out of what a model is fed: the wrong ones first. It never makes the host wait for a GPU."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c2d_fast.loading.batch import Batch
from c2d_fast.reporting.host_copy import to_host


@dataclass(frozen=True)
class GalleryClips:
    """Clips with what the model says of them, the worst first."""

    clips: NDArray[np.uint8]
    """RGB [n, T, H, W, C]."""
    labels: list[int]
    guesses: list[int]
    scores: list[float]
    """Probability of each guess, 0..1."""
    label_scores: list[float]
    """Probability of each label, 0..1."""
    indices: list[int]
    """The videos' indices in the plan."""


class Gallery:
    """Keeps, on the device, the clips whose label the model finds least probable."""

    def __init__(self, size: int, batches: int | None = None, kind: str = "single"):
        """Starts empty.

        Args:
            size: clips to keep.
            batches: how many batches are looked at, the first ones (default: all).
            kind: of labels (recipe.Labels.kind): probabilities are the logits' softmax, of "several" their sigmoid.
        """
        self._size, self._left, self._kind = size, batches, kind
        self._kept: tuple[Tensor, ...] | None = None
        self.spent_s = 0.0
        """Time that looking has taken."""

    def update(self, batch: Batch, logits: Tensor) -> None:
        """Looks at a batch.

        Args:
            batch: its clips are copied where they are kept. One with several labels is shown with that which the model finds
                least probable, one without a label is not shown.
            logits: float [N, K].
        """
        if self._left == 0:
            return
        started_s = time.perf_counter()
        self._left = None if self._left is None else self._left - 1
        try:
            self._look(batch, logits)
        except RuntimeError:  # such as a GPU's memory that is full: a picture is not worth a run
            self._left = 0
        self.spent_s += time.perf_counter() - started_s

    def _look(self, batch: Batch, logits: Tensor) -> None:
        with torch.no_grad():
            logits = logits.detach().float()
            probabilities = logits.sigmoid() if self._kind == "several" else logits.softmax(1)
            label, has_label = batch.label, batch.label >= 0
            if self._kind != "single" and batch.targets is not None:
                has_class = batch.targets > 0
                label, has_label = torch.where(has_class, probabilities, 2.0).argmin(1), has_class.any(1) & has_label
            of_label = probabilities.gather(1, label.clamp_min(0)[:, None])[:, 0]
            best = probabilities.max(1)
            badness = torch.where(batch.valid & has_label, 1 - of_label, -1.0)
            columns: tuple[Tensor, ...] = (badness, batch.clip, label, batch.index, best.indices, best.values, of_label)
            if self._kept:
                columns = tuple(torch.cat(pair) for pair in zip(self._kept, columns, strict=True))
            worst = columns[0].topk(min(self._size, len(columns[0]))).indices
            kept = [column[worst] for column in columns]  # copies: the batch's memory is the loader's
            # Those of a few batches wait for the epoch's end, and not in a GPU's memory.
            self._kept = tuple(map(to_host, kept) if self._left == 0 else kept)

    def pop(self) -> GalleryClips | None:
        """Returns what was kept, or None if nothing was seen. Waits for the device."""
        if self._kept is None:
            return None
        kept, self._kept = self._kept, None
        if torch.cuda.is_available():
            torch.cuda.current_stream().synchronize()  # copies that are on their way
        badness, clips, labels, indices, guesses, scores, of_label = (column.cpu() for column in kept)
        valid = badness >= 0  # padding is never shown, and no clip without a label
        return GalleryClips(
            clips[valid].numpy(),
            *(column[valid].tolist() for column in (labels, guesses, scores, of_label, indices)),
        )
