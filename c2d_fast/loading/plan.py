"""What each slot of each batch holds: a pure map from (step, slot) to a sample, for training and for evaluation.

Numpy only. A plan is sent to the loader's workers once; the main process asks the same plan for labels and masks.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.loading import sampler
from c2d_fast.manifest.videos import Videos
from c2d_fast.recipe import Clip, Crop

VIEWS = {"10x3": 10, "1x1": 1}
"""--views of the test command -> clips of a video; more than one are seen in three crops each."""


@dataclass(frozen=True)
class Sample:
    """One video to decode and what to cut out of it."""

    index: int
    """The video whose frames these are."""
    frames: NDArray[np.int64]
    """Frame numbers to decode, [F]."""
    boxes: NDArray[np.float32]
    """Regions x0, y0, x1, y1 as parts of the decoded frame, 0..1, [crops, 4]."""
    flip: bool
    lot: float = 0.0
    """Drawn for it by sampler.lot, where its decoder depends on it."""


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """Endless training order: epoch after epoch without a gap, so that a loader never drains at an epoch's end.

    A global batch is accumulate x world x batch_size neighbours of the epoch's order: of each world x batch_size of them
    rank r takes the r-th part. So the same clips make up a step, however many ranks share them. The last partial global
    batch of an epoch is dropped. What is called a step here is one batch on each rank, accumulate of which make an
    optimizer step.
    """

    videos: Videos
    clip: Clip
    crop: Crop
    seed: int
    batch_size: int
    rank: int = 0
    world: int = 1
    accumulate: int = 1
    """Batches on each rank that an optimizer step takes."""
    quarantined: frozenset[int] = field(default=frozenset())
    """Videos that turned out to be broken: each is replaced by one that the seed decides."""
    name: str = "training list"
    """Of the list, for messages."""

    def __post_init__(self) -> None:
        if self.steps_per_epoch == 0:
            raise UserError(
                f"{self.name}: {len(self.videos)} usable videos are fewer than one global batch of "
                f"{self.clips_per_step} clips; lower --batch-size or give more videos"
            )

    @property
    def short_side(self) -> int:
        """Short side of the frame that the crops are defined on, in pixels."""
        return self.crop.train_short_side

    @property
    def clips_per_step(self) -> int:
        """Clips of an optimizer step, on all ranks together."""
        return self.accumulate * self.world * self.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch; the same on all ranks."""
        return len(self.videos) // self.clips_per_step

    def index(self, step: int, slot: int) -> int:
        """Returns the video whose turn it is in a slot of a global step's batch."""
        epoch, position = self._epoch_position(step, slot)
        index = int(_order(self.seed, epoch, len(self.videos))[position])
        if index in self.quarantined:
            candidates = sampler.substitutes(self.seed, epoch, index, len(self.videos))
            index = next(i for i in candidates if i not in self.quarantined)
        return index

    def sample(self, step: int, slot: int) -> Sample:
        """Draws the sample in a slot of a step's batch."""
        epoch, _ = self._epoch_position(step, slot)
        return self.draw(epoch, self.index(step, slot))

    def lot(self, step: int, slot: int) -> float:
        """Returns what sampler.lot draws for the sample in a slot."""
        epoch, _ = self._epoch_position(step, slot)
        return sampler.lot(self.seed, epoch, self.index(step, slot))

    def scaled_size(self, index: int) -> tuple[int, int]:
        """Returns the width and height of the scaled frame that a video's crops are defined on."""
        return sampler.scaled_size(int(self.videos.width[index]), int(self.videos.height[index]), self.short_side)

    def draw(self, epoch: int, index: int) -> Sample:
        """Draws a video's sample of an epoch, whatever its position in it."""
        n, clip, scaled = int(self.videos.num_frames[index]), self.clip, self.scaled_size(index)
        firsts = sampler.train_first_frames(n, clip.num_frames, clip.interval)
        draws = _draws(*scaled, self.crop.size, self.crop.scales)
        first, box, flip = sampler.draw_train(self.seed, epoch, index, len(firsts), draws)
        frames = sampler.clip_frames(first, n, clip.num_frames, clip.interval)
        return Sample(index, frames, sampler.relative_box(box, *scaled)[None], flip)

    def _epoch_position(self, step: int, slot: int) -> tuple[int, int]:
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch * self.accumulate)
        return epoch, (step_in_epoch * self.world + self.rank) * self.batch_size + slot


@dataclass(frozen=True, kw_only=True)
class EvalPlan:
    """The list in its order, round after round; a round's last batch is padded with videos that are masked out."""

    videos: Videos
    clip: Clip
    crop: Crop
    batch_size: int
    """Videos in a batch."""
    num_clips: int = 1
    """1: the validation view (centre crop). More: that many clips with three crops each."""
    rank: int = 0
    world: int = 1
    quarantined: frozenset[int] = field(default=frozenset())
    """Videos that turned out to be broken: never replaced, only masked out."""

    @property
    def short_side(self) -> int:
        """Short side of the frame that the crops are defined on, in pixels."""
        return self.crop.train_short_side if self.num_clips == 1 else self.crop.test_short_side

    @property
    def num_crops(self) -> int:
        """Crops made of every decoded frame."""
        return 1 if self.num_clips == 1 else 3

    @property
    def num_views(self) -> int:
        """Views that a video's score is averaged over."""
        return self.num_clips * self.num_crops

    @property
    def steps(self) -> int:
        """Batches in a round; the same on all ranks."""
        return -(-len(self.videos) // (self.world * self.batch_size))

    def is_valid(self, step: int, slot: int) -> bool:
        """Says whether this slot holds a video that counts; the others are padding."""
        position = self._position(step, slot)
        return position < len(self.videos) and position not in self.quarantined

    def index(self, step: int, slot: int) -> int:
        """Returns the video in a slot of a step's batch: its own, or for padding any that decodes."""
        if self.is_valid(step, slot):
            return self._position(step, slot)
        return next(i for i in range(len(self.videos)) if i not in self.quarantined)

    def sample(self, step: int, slot: int) -> Sample:
        """Returns the sample in a slot of a step's batch, with every frame that any of the video's views needs."""
        index = self.index(step, slot)
        return Sample(index, np.unique(self._clips(index)), self._boxes(index), False)

    def lot(self, step: int, slot: int) -> float:
        """Returns what sampler.lot draws for the sample in a slot; the same in every round."""
        return sampler.lot(0, 0, self.index(step, slot))

    def views(self, index: int) -> list[Sample]:
        """Returns a video's views one by one, in their order: crop by crop, and clip by clip for each."""
        return [Sample(index, frames, box[None], False) for box in self._boxes(index) for frames in self._clips(index)]

    def positions(self, index: int) -> NDArray[np.int64]:
        """Returns where each clip's frames stand among the sample's frames: int64 [clips, T]."""
        clips = self._clips(index)
        return np.searchsorted(np.unique(clips), clips)

    def scaled_size(self, index: int) -> tuple[int, int]:
        """Returns the width and height of the scaled frame that a video's crops are defined on."""
        return sampler.scaled_size(int(self.videos.width[index]), int(self.videos.height[index]), self.short_side)

    def _boxes(self, index: int) -> NDArray[np.float32]:
        scaled = self.scaled_size(index)
        squares = [sampler.centre_box(*scaled, self.crop.size)] if self.num_clips == 1 else sampler.three_boxes(*scaled)
        return np.stack([sampler.relative_box(square, *scaled) for square in squares])

    def _clips(self, index: int) -> NDArray[np.int64]:
        n, clip = int(self.videos.num_frames[index]), self.clip
        if self.num_clips == 1:
            return sampler.val_frames(n, clip.num_frames, clip.interval)[None]
        return sampler.test_frames(n, clip.num_frames, clip.interval, self.num_clips)

    def _position(self, step: int, slot: int) -> int:
        return (step % self.steps * self.world + self.rank) * self.batch_size + slot


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, num_videos: int) -> NDArray[np.int64]:
    return sampler.epoch_order(seed, epoch, num_videos)


@lru_cache(maxsize=256)
def _draws(width: int, height: int, size: int, scales: tuple[float, ...]) -> list[sampler.Box]:
    return sampler.train_draws(width, height, size, scales)
