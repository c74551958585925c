"""Training in several shapes, one after another: fewer frames and smaller crops at first, as multigrid (Wu et al. 2020).

Each stage has a loader of its own, with the same videos in the same order, and as many clips to a step; only the loader of the
epoch that is read has workers.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from c2d_fast.loading.batch import Batch
from c2d_fast.loading.clip_loader import ClipLoader
from c2d_fast.recipe import Clip, Crop, Recipe


@dataclasses.dataclass(frozen=True)
class Stage:
    """Epochs with clips of one shape."""

    epochs: int
    """How many; 0 of the last: all that are left."""
    clip: Clip
    crop: Crop


def stages_of(recipe: Recipe) -> list[Stage]:
    """Returns the stages of a recipe's training, its own shape last.

    A stage's frames lie further apart, so that they span the recipe's time; its crops are those of a frame that is scaled as
    their size is.
    """
    stages = []
    for epochs, frames, size in recipe.training.grid:
        clip, crop = dataclasses.replace(recipe.clip, num_frames=frames), recipe.crop
        if clip.sampling == "dense":
            interval = max(round(recipe.clip.interval * recipe.clip.num_frames / frames), 1)
            clip = dataclasses.replace(clip, interval=interval)
        low, high = (_scaled(side, size, crop) for side in crop.short_sides)
        short_side = _scaled(crop.train_short_side, size, crop)
        crop = dataclasses.replace(crop, size=size, train_short_side=short_side, short_sides=(low, high))
        stages.append(Stage(epochs, clip, crop))
    return [*stages, Stage(0, recipe.clip, recipe.crop)]


def _scaled(side: int, size: int, crop: Crop) -> int:
    return max(round(side * size / crop.size), 1)


class ShapeSchedule:
    """A training source (as TrainSource) that reads each epoch in the shape of its stage."""

    def __init__(self, stages: Sequence[Stage], open_loader: Callable[[Stage], ClipLoader]):
        """Opens a loader for each stage; no worker is started.

        Args:
            stages: as of stages_of.
            open_loader: makes a stage's loader. They must differ in nothing but the shape of clips.

        Raises:
            UserError: as ClipLoader.
        """
        self._loaders = [open_loader(stage) for stage in stages]
        self._ends = list(accumulate(stage.epochs for stage in stages[:-1]))
        self._current = self._loaders[0]
        self.steps_per_epoch, self.clips_per_step = self._current.steps_per_epoch, self._current.clips_per_step

    def start(self, epoch: int = 0, first_step: int = 0) -> None:
        """Starts the workers of a stage before a batch is asked for: what is wrong with the graph comes out now.

        Raises:
            UserError: the graph does not build.
        """
        later, first_step = divmod(first_step, self.steps_per_epoch)
        self._go_to(epoch + later).start(epoch + later, first_step)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yields this rank's batches of an epoch from an optimizer step on; several for each step where they accumulate."""
        yield from self._go_to(epoch).epoch(epoch, first_step)

    def name(self, index: int) -> str:
        """Says which video has an index in the plan, for messages."""
        return self._current.name(index)

    def current_videos(self) -> list[int]:
        """Returns the videos of the batch that is read now, or was read last."""
        return self._current.current_videos()

    def quarantined(self) -> frozenset[int]:
        """Returns the videos that this rank has found broken while it read them, and those that were excluded."""
        return self._current.quarantined()

    def exclude(self, indices: frozenset[int]) -> None:
        """Replaces videos by others."""
        self._current.exclude(indices)

    def set_heartbeat(self, heartbeat: Callable[[str], None]) -> None:
        """Takes what is called again and again while a storage is waited for, with what is done."""
        for loader in self._loaders:
            loader.set_heartbeat(heartbeat)

    def close(self) -> None:
        """Ends the workers. What is read next starts others."""
        self._current.close()

    def _go_to(self, epoch: int) -> ClipLoader:
        """Returns the loader of an epoch: it knows what the one before has found broken, and alone has workers."""
        loader = self._loaders[sum(epoch >= end for end in self._ends)]
        if loader is not self._current:
            self._current.close()
            loader.exclude(self._current.quarantined())
            self._current = loader
        return loader


TrainingLoader = ClipLoader | ShapeSchedule
"""What a run is read by."""
