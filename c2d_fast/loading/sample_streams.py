"""What a graph is told of a sample beside its frames, as arrays. Numpy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.loading.plan import Sample
from c2d_fast.video.orientation import MIRRORED, TRANSPOSED, UPSIDE_DOWN


def scaled_size_of(sample: Sample) -> NDArray[np.float32]:
    """Returns the height and width of a training crop in the scaled frame: float32 [2]; of several clips [clips, 2]."""
    if sample.clips:
        return np.stack([scaled_size_of(clip) for clip in sample.clips])
    x0, y0, x1, y1 = sample.boxes[0] * np.array([*sample.scaled, *sample.scaled])
    return np.maximum(np.rint([y1 - y0, x1 - x0]), 1).astype(np.float32)


def flip_of(sample: Sample) -> NDArray[np.int32]:
    """Returns 1 where a clip is mirrored, else 0: int32, of several clips [clips]."""
    return np.array([clip.flip for clip in sample.clips] if sample.clips else sample.flip, np.int32)


def turns_of(orientation: int) -> tuple[NDArray[Any], ...]:
    """Returns whether frames are transposed (bool), mirrored (int32) and turned upside down (int32)."""
    flips = (np.array(int(bool(orientation & part)), np.int32) for part in (MIRRORED, UPSIDE_DOWN))
    return np.array(bool(orientation & TRANSPOSED)), *flips
