"""Mixup and cutmix: clips of a batch mixed with each other, on the device, and their targets with them."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from c2d_fast.recipe import Augment

_PURPOSE = 5
"""Parts these draws from others of the same seed and step."""


@dataclass(frozen=True)
class Mix:
    """How a batch is mixed: each clip with the one before it, the first with the last; of several clips a video with the
    video's before."""

    share: float = 1.0
    """Of each clip's own; 1.0: nothing is mixed."""
    box: tuple[int, int, int, int] | None = None
    """x0, y0, x1, y1 in pixels: what cutmix takes of the other clip. None: mixup, of all pixels."""
    apart: int = 1
    """How far before a clip the other one stands: clips of one video stand beside each other."""

    def clips(self, clip: Tensor) -> Tensor:
        """Mixes clips, uint8 [N, T, H, W, C]. Returns float32, 0..255, so that a compiled model sees one type."""
        mixed = clip.float()
        if self.share == 1.0:
            return mixed
        if self.box is None:
            return torch.lerp(mixed.roll(self.apart, 0), mixed, self.share)
        x0, y0, x1, y1 = self.box
        mixed[:, :, y0:y1, x0:x1] = clip.roll(self.apart, 0)[:, :, y0:y1, x0:x1].float()
        return mixed

    def rows(self, values: Tensor) -> Tensor:
        """Mixes what belongs to each clip, float [N, ...], such as targets, in the same shares."""
        return values if self.share == 1.0 else torch.lerp(values.roll(self.apart, 0), values, self.share)


@dataclass(frozen=True)
class Mixing:
    """Draws how batches are mixed: a pure function of the seed, the step and the batch's part in it."""

    augment: Augment
    seed: int
    clips_per_video: int = 1

    def draw(self, step: int, part: int, height: int, width: int) -> Mix:
        """Draws for a batch.

        Args:
            step: the optimizer step, counted from 1.
            part: which of the step's batches, over all ranks.
            height: of the clips, in pixels.
            width: likewise.
        """
        rng = np.random.default_rng([self.seed, step, part, _PURPOSE])
        if rng.random() >= self.augment.mix_probability:
            return Mix()
        mixup, cutmix = self.augment.mixup, self.augment.cutmix
        is_cutmix = bool(cutmix) and (not mixup or rng.random() < 0.5)
        alpha = cutmix if is_cutmix else mixup
        share = float(rng.beta(alpha, alpha))
        if not is_cutmix:
            return Mix(share, apart=self.clips_per_video)
        x, y, reach = int(rng.integers(width)), int(rng.integers(height)), 0.5 * math.sqrt(1 - share)
        half_width, half_height = int(reach * width), int(reach * height)
        x0, y0 = max(x - half_width, 0), max(y - half_height, 0)
        x1, y1 = min(x + half_width, width), min(y + half_height, height)
        # The box may reach over the edge: what is left of it decides the shares.
        return Mix(1 - (x1 - x0) * (y1 - y0) / (width * height), (x0, y0, x1, y1), self.clips_per_video)
