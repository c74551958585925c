"""Which frames make a clip: strategies, each a pure function of a video's length and a generator. Numpy only.

A generator is made for each clip from (seed, epoch, index), so that any clip can be drawn again, in any process.
"""

import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from c2d_fast.loading import sampler
from c2d_fast.processes.spawning import has_guard, needs_main
from c2d_fast.recipe import Clip

FrameNumbers = NDArray[np.int64]
_PLACE = "give a function that stands in a file, at its top level"


class Sampling(Protocol):
    """Says which frames make a clip."""

    @property
    def num_frames(self) -> int:
        """Returns T, the frames of a clip."""

    @property
    def num_clips(self) -> int:
        """Returns how many clips are made of one decode of a video."""

    def draw(self, n: int, rng: np.random.Generator) -> FrameNumbers:
        """Draws a training clip of a video of n frames: int64 [T]."""

    def spread(self, n: int, num_clips: int, rng: np.random.Generator) -> FrameNumbers:
        """Returns the clips of an evaluation, spread over a video of n frames: int64 [num_clips, T]; one is in the middle."""


def _check_positive(strategy: Any, *names: str) -> None:
    for name in names:
        value = getattr(strategy, name)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{type(strategy).__name__}: {name} ({value!r}) must be a whole number, 1 at least")


@dataclass(frozen=True)
class Dense:
    """Every interval-th frame from one on that is drawn; a short video loops. As the published C2D recipes."""

    num_frames: int
    interval: int = 1
    num_clips: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        _check_positive(self, "num_frames", "interval")

    def draw(self, n: int, rng: np.random.Generator) -> FrameNumbers:
        """As in Sampling."""
        firsts = sampler.train_first_frames(n, self.num_frames, self.interval)
        return sampler.clip_frames(int(rng.integers(len(firsts))), n, self.num_frames, self.interval)

    def spread(self, n: int, num_clips: int, rng: np.random.Generator) -> FrameNumbers:
        """As in Sampling."""
        if num_clips == 1:
            return sampler.val_frames(n, self.num_frames, self.interval)[None]
        return sampler.test_frames(n, self.num_frames, self.interval, num_clips)


@dataclass(frozen=True)
class Uniform:
    """One frame of each of num_segments equal parts of a video (TSN, Wang et al. 2016).

    Training draws it, as MMAction2's SampleFrames(clip_len=1) does: the parts are n // num_segments frames long; of a video
    with fewer frames than parts, frames are repeated. Evaluation takes the middle of parts of n / num_segments frames, as
    TSN's own code does; of several clips the k-th takes what lies (k + 1/2) / num_clips into each part.
    """

    num_segments: int
    num_clips: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        _check_positive(self, "num_segments")

    @property
    def num_frames(self) -> int:
        """As in Sampling."""
        return self.num_segments

    def draw(self, n: int, rng: np.random.Generator) -> FrameNumbers:
        """As in Sampling."""
        segments: FrameNumbers = np.arange(self.num_segments, dtype=np.int64)
        length = n // self.num_segments
        if length:
            segments = segments * length + rng.integers(length, size=self.num_segments)
        else:
            segments = np.rint(segments * (n / self.num_segments)).astype(np.int64).clip(max=n - 1)
        return segments

    def spread(self, n: int, num_clips: int, rng: np.random.Generator) -> FrameNumbers:
        """As in Sampling."""
        into = (np.arange(num_clips)[:, None] + 0.5) / num_clips
        length = n / self.num_segments
        frames: FrameNumbers = (length * np.arange(self.num_segments) + length * into).astype(np.int64)
        return frames


@dataclass(frozen=True)
class Multi:
    """Several clips of one decode of a video, each drawn by itself (in training: repeated augmentation, Hoffer et al. 2020)."""

    num_clips: int
    clip: "Clip | Sampling" = Dense(8, 8)
    """Which frames make each of them."""

    def __post_init__(self) -> None:
        _check_positive(self, "num_clips")
        if sampling_of(self.clip).num_clips != 1:
            raise ValueError(f"Multi({self.num_clips}, {self.clip}): clip must make one clip; multiply the numbers instead")

    @property
    def num_frames(self) -> int:
        """As in Sampling: of one of the clips."""
        return self.clip.num_frames

    def draw(self, n: int, rng: np.random.Generator) -> FrameNumbers:
        """As in Sampling: one of the clips."""
        return sampling_of(self.clip).draw(n, rng)

    def spread(self, n: int, num_clips: int, rng: np.random.Generator) -> FrameNumbers:
        """As in Sampling."""
        return sampling_of(self.clip).spread(n, num_clips, rng)


@dataclass(frozen=True)
class Frames:
    """Frames of your own choice: choose(n, rng) gives T numbers from 0 to n - 1, in any order, also repeatedly.

    n is the video's number of frames. rng is a numpy Generator made of (seed, epoch, index), in evaluation of the index alone:
    who draws from it, and from nothing else, has the same clips in every run. Worker processes call it: it must be a function
    (or another object) that pickle can send to them.
    """

    choose: Callable[[int, np.random.Generator], "Sequence[int] | NDArray[np.integer[Any]]"]
    num_clips: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        try:
            pickled = pickle.dumps(self.choose)
        except Exception as error:  # pickle raises many kinds
            raise ValueError(f"{self._name}: cannot be sent to worker processes ({error}); {_PLACE}") from error
        if not needs_main(pickled):
            return
        script = getattr(sys.modules["__main__"], "__file__", None)
        if script is None:
            raise ValueError(f"{self._name}: worker processes cannot import what is typed into an interpreter; {_PLACE}")
        if not has_guard(script):
            raise ValueError(
                f"{self._name}: stands in {script}, which worker processes import, and would run: begin what it does with "
                'if __name__ == "__main__": or give a function of another file'
            )

    @property
    def _name(self) -> str:
        return f"Frames({getattr(self.choose, '__name__', repr(self.choose))})"

    @cached_property
    def num_frames(self) -> int:
        """As in Sampling: as many as are chosen of a video of 1000 frames."""
        return len(self.choose(1000, np.random.default_rng(0)))

    def draw(self, n: int, rng: np.random.Generator) -> FrameNumbers:
        """As in Sampling.

        Raises:
            ValueError: what is chosen is no such list of numbers.
        """
        chosen = np.asarray(self.choose(n, rng))
        if chosen.shape != (self.num_frames,) or chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= n:
            rule = f"must be {self.num_frames} whole numbers from 0 to {n - 1}"
            raise ValueError(f"{self._name}: gave {chosen.dtype} {chosen.tolist()} of a video of {n} frames; {rule}")
        return chosen.astype(np.int64)

    def spread(self, n: int, num_clips: int, rng: np.random.Generator) -> FrameNumbers:
        """As in Sampling: each is chosen by itself."""
        return np.stack([self.draw(n, rng) for _ in range(num_clips)])


def sampling_of(clip: Clip | Sampling) -> Sampling:
    """Returns the strategy that a recipe's clip stands for; a strategy itself."""
    if not isinstance(clip, Clip):
        return clip
    return Uniform(clip.num_frames) if clip.sampling == "uniform" else Dense(clip.num_frames, clip.interval)
