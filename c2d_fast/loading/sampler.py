"""Which frames and which boxes: pure functions of (seed, epoch, index), numpy only.

Nothing here keeps state, so the position in a run is two integers and any sample can be drawn again, in any process and
in any order. The figures are those of the published C2D recipes (MMAction2's model zoo).
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the scaled frame; x1 and y1 are exclusive."""


def train_first_frames(n: int, clip_len: int, interval: int) -> range:
    """Returns the first frames that a training clip may start at, all equally likely.

    Args:
        n: frames in the video, >= 1.
        clip_len: frames in the clip.
        interval: distance between the clip's frames.
    """
    return range(max(n - clip_len * interval, 0) + 1)


def clip_frames(first: int, n: int, clip_len: int, interval: int) -> NDArray[np.int64]:
    """Returns the frame numbers of the clip that starts at first: int64 [clip_len]; a short video loops."""
    frames: NDArray[np.int64] = (first + interval * np.arange(clip_len, dtype=np.int64)) % n
    return frames


def val_frames(n: int, clip_len: int, interval: int) -> NDArray[np.int64]:
    """Returns the frame numbers of the one clip of validation, from the middle: int64 [clip_len]."""
    return clip_frames(_spare_frames(n, clip_len, interval) // 2, n, clip_len, interval)


def test_frames(n: int, clip_len: int, interval: int, num_clips: int) -> NDArray[np.int64]:
    """Returns the frame numbers of num_clips clips spread evenly over the video: int64 [num_clips, clip_len]."""
    spare = _spare_frames(n, clip_len, interval)
    firsts = [round(i * spare / max(num_clips - 1, 1)) for i in range(num_clips)]
    return np.stack([clip_frames(first, n, clip_len, interval) for first in firsts])


def scaled_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Returns (width, height) once the short side has been scaled to short_side, the aspect kept."""
    short = min(width, height)
    return int(width * short_side / short + 0.5), int(height * short_side / short + 0.5)


def train_boxes(
    width: int, height: int, size: int = 224, scales: Sequence[float] = (1.0, 0.875, 0.75, 0.66)
) -> dict[Box, float]:
    """Returns every box that the multi-scale training crop may cut, with its probability.

    Args:
        width: of the frame whose short side has been scaled, in pixels.
        height: likewise.
        size: side of the square that the box is resized to; sides within 2 pixels of it are set to it.
        scales: the box's sides as parts of the frame's short side.
    """
    draws = train_draws(width, height, size, scales)
    return {box: count / len(draws) for box, count in Counter(draws).items()}


def centre_box(width: int, height: int, size: int) -> Box:
    """Returns the square of validation, in the middle of a width x height frame."""
    x, y = (width - size) // 2, (height - size) // 2
    return (x, y, x + size, y + size)


def three_boxes(width: int, height: int) -> list[Box]:
    """Returns the three squares of testing along the long side of a width x height frame, in the published order.

    The squares' side is the frame's short side. The last is the middle one; the far edge is not quite reached.
    """
    size = min(width, height)
    step = (max(width, height) - size) // 2
    if width >= height:
        return [(x, 0, x + size, size) for x in (0, 2 * step, step)]
    return [(0, y, size, y + size) for y in (0, 2 * step, step)]


def relative_box(box: Box, width: int, height: int) -> NDArray[np.float32]:
    """Returns a box as parts of its width x height frame: float32 [x0, y0, x1, y1] in 0..1.

    Resizing this region of the decoded frame straight to the crop's size samples the very points of scaling the frame
    first and cropping then. Parts, not pixels: a file that has another size than expected is still cut inside.
    """
    parts: NDArray[np.float32] = (np.array(box) / np.array([width, height, width, height])).astype(np.float32)
    return parts


def epoch_order(seed: int, epoch: int, num_videos: int) -> NDArray[np.int64]:
    """Returns the order of the videos in an epoch, a permutation: int64 [num_videos]."""
    return np.random.default_rng([seed, epoch]).permutation(num_videos)


def draw_train(seed: int, epoch: int, index: int, num_firsts: int, draws: Sequence[Box]) -> tuple[int, Box, bool]:
    """Draws a training sample: (first frame, box, flip).

    Args:
        seed: of the run.
        epoch: counted from 0.
        index: the video's index in the list: the draw does not depend on when or by whom it is read.
        num_firsts: how many first frames there are to choose from.
        draws: boxes to choose from, each as often as it is likely (repeats allowed).
    """
    rng = generator(seed, epoch, index)
    return int(rng.integers(num_firsts)), draws[int(rng.integers(len(draws)))], bool(rng.random() < 0.5)


def generator(seed: int, epoch: int, index: int, clip: int = 0) -> np.random.Generator:
    """Returns what a training clip is drawn from; clip counts those that are made of one decode of the video."""
    return np.random.default_rng([seed, epoch, index, 3, clip] if clip else [seed, epoch, index])


def lot(seed: int, epoch: int, index: int, repeat: int = 0) -> float:
    """Draws a number in [0, 1) for a sample, by which one of two decoders is given it; its video came repeat times before."""
    return float(np.random.default_rng([seed, epoch, index, 2, repeat] if repeat else [seed, epoch, index, 2]).random())


def substitutes(seed: int, epoch: int, index: int, num_videos: int) -> Iterator[int]:
    """Yields the videos to take in place of a broken one, in a fixed order that visits every video."""
    yield from (int(i) for i in np.random.default_rng([seed, epoch, index, 1]).permutation(num_videos))


def _spare_frames(n: int, clip_len: int, interval: int) -> int:
    return max(n - ((clip_len - 1) * interval + 1), 0)


def train_draws(width: int, height: int, size: int, scales: Sequence[float]) -> list[Box]:
    """Returns the equally likely draws of the multi-scale crop, repeats included."""
    sides = [int(min(width, height) * scale) for scale in scales]
    sides = [size if abs(side - size) < 3 else side for side in sides]
    pairs = [(w, h) for i, w in enumerate(sides) for j, h in enumerate(sides) if abs(i - j) <= 1]
    draws = []
    for w, h in pairs:
        step_x, step_y = (width - w) // 4, (height - h) // 4
        # Quarter steps: the four corners, then the centre.
        for column, row in ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2)):
            x, y = column * step_x, row * step_y
            draws.append((x, y, x + w, y + h))
    return draws
