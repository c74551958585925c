"""What is done to training clips on the device: a recipe's Augment by torchvision's transforms, and any other one, seeded."""

import dataclasses
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from c2d_fast.loading.batch import IMAGENET, Batch
from c2d_fast.recipe import Augment

Transform = Callable[[Tensor], Tensor]
"""Clips [N, T, C, H, W] -> clips in that layout."""
_ERASED = tuple(float(round(255 * mean)) for mean in IMAGENET[0])
"""The mean colour: what the model sees as about 0."""


def make_transform(augment: Augment) -> Transform | None:
    """Makes what a recipe asks for: policy, colour, grayscale, erasing, in this order. Mixing is none of it.

    All are torchvision.transforms.v2's, called once for each clip: its frames are all changed likewise, and the next clip's
    otherwise. Draws come from torch's generators, which ClipLoader seeds for each batch.

    Args:
        augment: of the recipe.

    Returns:
        A function of clips, uint8 [N, T, 3, H, W] on any device, to clips of the same shape, type and layout in memory; None
        where nothing is asked for.
    """
    steps = _steps(augment)
    if not steps:
        return None

    def transform(clips: Tensor) -> Tensor:
        # As the clips lie in memory, channels last: so the model sees them without another copy.
        changed = torch.empty_like(clips)
        for into, clip in zip(changed, clips, strict=True):
            into.copy_(reduce(lambda frames, step: step(frames), steps, clip))
        return changed

    return transform


def _steps(augment: Augment) -> list[Callable[[Tensor], Tensor]]:
    from torchvision.transforms import v2  # imported late: it takes a second

    steps: list[Any] = []
    if augment.policy == "randaugment":
        steps.append(v2.RandAugment(num_ops=augment.policy_ops, magnitude=augment.policy_magnitude))
    elif augment.policy == "trivialaugment":
        steps.append(v2.TrivialAugmentWide())
    if any(augment.color):
        brightness, contrast, saturation, hue = augment.color
        steps.append(v2.ColorJitter(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue))
    if augment.grayscale:
        steps.append(v2.RandomGrayscale(p=augment.grayscale))
    if augment.erase:
        steps.append(v2.RandomErasing(p=augment.erase, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=_ERASED))
    return steps


def transformed(batch: Batch, transform: Transform, seed: int) -> Batch:
    """Returns a batch whose clips have gone through a transform.

    Args:
        batch: its clips are given as [N, T, C, H, W], and taken so.
        transform: draws from torch's generators.
        seed: of these, which are as before afterwards.
    """
    with torch.random.fork_rng([batch.clip.device] if batch.clip.is_cuda else []):
        torch.manual_seed(seed)
        clip = transform(batch.clip.movedim(-1, 2))
        return dataclasses.replace(batch, clip=clip.movedim(2, -1))
