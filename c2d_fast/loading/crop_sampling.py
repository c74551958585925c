"""Which part of a video's frames a training clip shows: boxes on the scaled frame, drawn. Numpy only."""

import math
from functools import lru_cache

import numpy as np

from c2d_fast.loading import sampler
from c2d_fast.loading.sampler import Box
from c2d_fast.recipe import Crop

_ATTEMPTS = 10
"""To find a box of a drawn area and shape that lies within the frame, as torchvision's RandomResizedCrop has."""

Size = tuple[int, int]
"""Width and height in pixels."""


def draw_box(crop: Crop, width: int, height: int, rng: np.random.Generator) -> tuple[Box, Size]:
    """Draws the box of a training clip.

    Args:
        crop: says how.
        width: of the video's frames, in pixels.
        height: likewise.
        rng: where all that is random comes from.

    Returns:
        The box, in pixels of the scaled frame, and that frame's size.
    """
    if crop.kind == "short_side_jitter":
        low, high = crop.short_sides
        scaled = sampler.scaled_size(width, height, int(rng.integers(low, high + 1)))
        return _anywhere(crop.size, crop.size, scaled, rng), scaled
    scaled = sampler.scaled_size(width, height, crop.train_short_side)
    if crop.kind == "multi_scale":
        draws = _draws(*scaled, crop.size, crop.scales)
        return draws[int(rng.integers(len(draws)))], scaled
    if crop.kind == "random_resized":
        return _random_resized(crop, scaled, rng), scaled
    return sampler.centre_box(*scaled, crop.size), scaled


@lru_cache(maxsize=256)
def _draws(width: int, height: int, size: int, scales: tuple[float, ...]) -> list[Box]:
    return sampler.train_draws(width, height, size, scales)


def _random_resized(crop: Crop, scaled: Size, rng: np.random.Generator) -> Box:
    """Draws an area and, evenly in its logarithm, a ratio of width to height; if none fits, the largest box in the middle."""
    width, height = scaled
    low, high = (math.log(ratio) for ratio in crop.ratio)
    for _ in range(_ATTEMPTS):
        area = width * height * rng.uniform(*crop.area)
        ratio = math.exp(rng.uniform(low, high))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return _anywhere(w, h, scaled, rng)
    ratio = min(max(width / height, crop.ratio[0]), crop.ratio[1])
    w, h = min(width, max(round(height * ratio), 1)), min(height, max(round(width / ratio), 1))
    x, y = (width - w) // 2, (height - h) // 2
    return x, y, x + w, y + h


def _anywhere(w: int, h: int, scaled: Size, rng: np.random.Generator) -> Box:
    """Places a box within a frame, all places equally likely."""
    x, y = int(rng.integers(scaled[0] - w + 1)), int(rng.integers(scaled[1] - h + 1))
    return x, y, x + w, y + h
