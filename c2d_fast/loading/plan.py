"""What each slot of each batch holds: a pure map from (step, slot) to a sample, for training and for evaluation.

Numpy only. A plan is sent to the loader's workers once; the main process asks the same plan for labels and masks.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.loading import balanced_order, sampler
from c2d_fast.loading.balanced_order import SameArray
from c2d_fast.loading.crop_sampling import draw_box
from c2d_fast.loading.frame_sampling import Sampling, sampling_of
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
    """Frame numbers to decode, [F]; of several clips all that any of them needs, rising."""
    boxes: NDArray[np.float32]
    """Regions x0, y0, x1, y1 as parts of the decoded frame, 0..1, [crops, 4]."""
    flip: bool
    lot: float = 0.0
    """Drawn for it by sampler.lot, where its decoder depends on it."""
    scaled: tuple[int, int] = (0, 0)
    """Width and height of the scaled frame that a training box is defined on."""
    clips: tuple["Sample", ...] = ()
    """Training clips that are made of one decode, where they are several."""

    @property
    def order(self) -> NDArray[np.int64]:
        """Returns where the frames of each of the clips stand among the frames: int64 [clips, T]."""
        return np.searchsorted(self.frames, np.stack([clip.frames for clip in self.clips]))


class _Turn(NamedTuple):
    """Whose turn it is in a slot of a step."""

    epoch: int
    video: int
    repeat: int = 0
    """How often the video of this place has come before in the epoch."""
    broken: int | None = None
    """With balance: that video, where it is broken and another one takes its place."""


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """Endless training order: epoch after epoch without a gap, so that a loader never drains at an epoch's end.

    A global batch is accumulate x world x batch_size neighbours of the epoch's order: of each world x batch_size of them
    rank r takes the r-th part. So the same clips make up a step, however many ranks share them. The last partial global
    batch of an epoch is dropped, or is a smaller one. What is called a step here is one batch on each rank, accumulate of
    which make an optimizer step.
    """

    videos: Videos
    clip: Clip | Sampling
    crop: Crop
    seed: int
    batch_size: int
    """Videos in a batch; each gives as many clips as the strategy says, mostly one."""
    rank: int = 0
    world: int = 1
    accumulate: int = 1
    """Batches on each rank that an optimizer step takes."""
    shuffle: bool = True
    """False: each epoch is in the list's order."""
    drop_last: bool = True
    """False: an epoch ends with a batch of what is left, as large on each rank: a few videos come twice for that."""
    balance: bool = False
    """Whether an epoch shows every class equally often, some videos several times, and others not: see balanced_order.py."""
    quarantined: frozenset[int] = field(default=frozenset())
    """Videos that turned out to be broken: each is replaced by one that the seed decides."""
    name: str = "training list"
    """Of the list, for messages."""

    def __post_init__(self) -> None:
        if not self.drop_last and self.accumulate > 1:
            raise UserError(f"drop_last=False: with accumulate={self.accumulate} steps would differ; take one of them")
        if self.balance and not self.shuffle:
            raise UserError("balance=True: decides the order of videos, which shuffle=False leaves as it is; take one of them")
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
        return self._videos_per_step * self.clips_per_video

    @cached_property
    def sampling(self) -> Sampling:
        """Returns the strategy that chooses frames."""
        return sampling_of(self.clip)

    @property
    def clips_per_video(self) -> int:
        """Clips that are made of one decode of a video."""
        return self.sampling.num_clips

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch; the same on all ranks."""
        videos, size = len(self.videos), self._videos_per_step
        return videos // size if self.drop_last else -(-videos // size)

    def rows(self, step: int) -> int:
        """Returns how many slots of a step's batch count; the others repeat some of them, for a batch of one size."""
        if self.drop_last or (step + 1) % self.steps_per_epoch:
            return self.batch_size
        left = len(self.videos) - (self.steps_per_epoch - 1) * self._videos_per_step
        return -(-left // self.world)

    def index(self, step: int, slot: int) -> int:
        """Returns the video whose turn it is in a slot of a global step's batch."""
        return self._turn(step, slot).video

    def sample(self, step: int, slot: int) -> Sample:
        """Draws the sample in a slot of a step's batch."""
        turn = self._turn(step, slot)
        return self.draw(turn.epoch, turn.video, turn.repeat, turn.broken)

    def lot(self, step: int, slot: int) -> float:
        """Returns what sampler.lot draws for the sample in a slot."""
        turn = self._turn(step, slot)
        return sampler.lot(self.seed, turn.epoch, turn.video, turn.repeat)

    def scaled_size(self, index: int) -> tuple[int, int]:
        """Returns the width and height of the scaled frame that a video's crops are defined on."""
        return sampler.scaled_size(int(self.videos.width[index]), int(self.videos.height[index]), self.short_side)

    def draw(self, epoch: int, index: int, repeat: int = 0, broken: int | None = None) -> Sample:
        """Draws a video's sample of an epoch, whatever its position in it; repeat and broken as in balanced_order.generator."""
        # Of several clips the first is the one that a run with one clip has.
        numbers = range(self.clips_per_video)
        generators = (balanced_order.generator(self.seed, epoch, index, clip, repeat, broken) for clip in numbers)
        clips = [self._draw(rng, index) for rng in generators]
        if len(clips) == 1:
            return clips[0]
        frames = np.unique(np.concatenate([clip.frames for clip in clips]))
        return replace(clips[0], frames=frames, boxes=np.concatenate([clip.boxes for clip in clips]), clips=tuple(clips))

    def _draw(self, rng: np.random.Generator, index: int) -> Sample:
        frames = self.sampling.draw(int(self.videos.num_frames[index]), rng)
        box, scaled = draw_box(self.crop, int(self.videos.width[index]), int(self.videos.height[index]), rng)
        flip = bool(rng.random() < self.crop.flip)
        return Sample(index, frames, sampler.relative_box(box, *scaled)[None], flip, scaled=scaled)

    @property
    def _videos_per_step(self) -> int:
        return self.accumulate * self.world * self.batch_size

    def _turn(self, step: int, slot: int) -> "_Turn":
        epoch, position = self._epoch_position(step, slot)
        if self.balance:
            labels = SameArray(self.videos.labels)
            order, repeats = balanced_order.order_of(self.seed, epoch, labels)
            index, repeat = int(order[position]), int(repeats[position])
            if index not in self.quarantined:
                return _Turn(epoch, index, repeat)
            other = balanced_order.substitute_of_class(self.seed, epoch, index, labels, self.quarantined)
            return _Turn(epoch, other, repeat, broken=index)
        index = int(_order(self.seed, epoch, len(self.videos))[position]) if self.shuffle else position
        if index in self.quarantined:
            index = _substitute(self.seed, epoch, index, len(self.videos), self.quarantined)
        return _Turn(epoch, index)

    def _epoch_position(self, step: int, slot: int) -> tuple[int, int]:
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch * self.accumulate)
        rows, whole = self.rows(step), step_in_epoch * self.world * self.batch_size
        return epoch, (whole + self.rank * rows + slot % rows) % len(self.videos)


@dataclass(frozen=True, kw_only=True)
class EvalPlan:
    """The list in its order, round after round; a round's last batch is padded with videos that are masked out."""

    videos: Videos
    clip: Clip | Sampling
    crop: Crop
    batch_size: int
    """Videos in a batch."""
    num_clips: int = 1
    """1: the validation view (centre crop). More: that many clips with three crops each, unless the crop says otherwise."""
    rank: int = 0
    world: int = 1
    quarantined: frozenset[int] = field(default=frozenset())
    """Videos that turned out to be broken: never replaced, only masked out."""

    @property
    def short_side(self) -> int:
        """Short side of the frame that the crops are defined on, in pixels."""
        return self.crop.train_short_side if self.num_crops == 1 else self.crop.test_short_side

    @property
    def num_crops(self) -> int:
        """Crops made of every decoded frame."""
        if self.crop.views == "published":
            return 1 if self.num_clips == 1 else 3
        return 1 if self.crop.views == "centre" else 3

    @cached_property
    def sampling(self) -> Sampling:
        """Returns the strategy that chooses frames."""
        return sampling_of(self.clip)

    @property
    def num_views(self) -> int:
        """Views that a video's score is averaged over."""
        return self.num_clips * self.num_crops

    @property
    def steps(self) -> int:
        """Batches in a round; the same on all ranks."""
        return -(-len(self.videos) // (self.world * self.batch_size))

    @property
    def num_valid(self) -> int:
        """Videos that this rank scores."""
        rounds, left = divmod(len(self.videos), self.world * self.batch_size)
        mine = rounds * self.batch_size + min(max(left - self.rank * self.batch_size, 0), self.batch_size)
        return mine - sum(index // self.batch_size % self.world == self.rank for index in self.quarantined)

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
        squares = [sampler.centre_box(*scaled, self.crop.size)] if self.num_crops == 1 else sampler.three_boxes(*scaled)
        return np.stack([sampler.relative_box(square, *scaled) for square in squares])

    def _clips(self, index: int) -> NDArray[np.int64]:
        rng = sampler.generator(0, 0, index)  # for strategies of users; ours are the same for all
        return self.sampling.spread(int(self.videos.num_frames[index]), self.num_clips, rng)

    def _position(self, step: int, slot: int) -> int:
        return (step % self.steps * self.world + self.rank) * self.batch_size + slot


@lru_cache(maxsize=2)  # an epoch's and the next one's: every process holds its own, 80 MB of ten million videos
def _order(seed: int, epoch: int, num_videos: int) -> NDArray[np.int64]:
    return sampler.epoch_order(seed, epoch, num_videos)


@lru_cache(maxsize=1024)  # drawing one takes as long as an epoch's order, and a slot is asked for more than once
def _substitute(seed: int, epoch: int, index: int, num_videos: int, quarantined: frozenset[int]) -> int:
    return next(i for i in sampler.substitutes(seed, epoch, index, num_videos) if i not in quarantined)
