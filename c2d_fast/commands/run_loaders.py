"""The loaders of a training run, and how it validates."""

import argparse
from collections.abc import Callable, Sequence

import torch
from torch import nn

from c2d_fast.commands.run_data import RunData
from c2d_fast.errors import EndedError, UserError
from c2d_fast.loading.clip_loader import ClipLoader
from c2d_fast.loading.clip_transforms import make_transform
from c2d_fast.loading.frame_sampling import Multi, Sampling, sampling_of
from c2d_fast.loading.pipelines import LoaderOptions
from c2d_fast.loading.shape_schedule import ShapeSchedule, Stage, TrainingLoader, stages_of
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.model.c2d import C2D
from c2d_fast.model.precision import Precision
from c2d_fast.processes.early_signals import exit_message
from c2d_fast.processes.signals import StopSignals, exit_code
from c2d_fast.processes.worker_stacks import current_videos
from c2d_fast.recipe import Clip, Recipe
from c2d_fast.reporting.gallery import Gallery
from c2d_fast.reporting.scores import Scores
from c2d_fast.training.distributed import Group
from c2d_fast.training.evaluate import evaluate
from c2d_fast.training.progress import Progress
from c2d_fast.training.watchdog import Watchdog

_MOST_SHAPES = 7  # torch compiles a function eight times at most, once of them for validation


def make_train_loader(
    args: argparse.Namespace,
    data: RunData,
    batch_size: int,
    options: LoaderOptions,
    quarantined: frozenset[int],
    group: Group,
) -> TrainingLoader:
    """Makes the training batches of this rank, and starts to read those that the run goes on with."""
    recipe = data.recipe

    def open_loader(stage: Stage) -> ClipLoader:
        return ClipLoader(
            data.train,
            clip=train_sampling(recipe, stage.clip),
            crop=stage.crop,
            num_classes=recipe.model.num_classes,
            seed=args.seed,
            batch_size=batch_size,
            accumulate=args.accumulate,
            balance=recipe.labels.balance,
            transform=make_transform(recipe.augment),
            rank=group.rank,
            world_size=group.world,
            graph=data.pipe.train_pipe,
            options=options,
        )

    stages = stages_of(recipe)
    _check_stages(recipe, stages[:-1])
    source = ShapeSchedule(stages, open_loader) if len(stages) > 1 else open_loader(stages[0])
    source.exclude(quarantined)
    progress = Progress(**data.resumed["progress"]) if data.resumed else Progress()
    source.start(progress.epoch, progress.clips // source.clips_per_step)
    return source


def _check_stages(recipe: Recipe, stages: Sequence[Stage]) -> None:
    """Asks the model whether it takes the shapes of training.grid, without computing anything.

    Raises:
        UserError: it does not.
    """
    if not stages:
        return
    shapes = {(frames, size) for _, frames, size in recipe.training.grid} | {(recipe.clip.num_frames, recipe.crop.size)}
    if len(shapes) > _MOST_SHAPES:
        raise UserError(
            f"the recipe's training.grid: has {len(shapes)} shapes with the recipe's own, more than torch.compile compiles; "
            f"give {_MOST_SHAPES} at most"
        )
    with torch.device("meta"), torch.no_grad():
        model = C2D(recipe.model).eval()
        for stage, given in zip(stages, recipe.training.grid, strict=True):
            try:
                model(torch.empty((1, stage.clip.num_frames, stage.crop.size, stage.crop.size, 3), dtype=torch.uint8))
            except RuntimeError as error:
                raise UserError(
                    f"the recipe's training.grid {given}: the model does not take {stage.clip.num_frames} frames of "
                    f"{stage.crop.size} pixels ({str(error).splitlines()[0]}); give larger ones"
                ) from error


def train_sampling(recipe: Recipe, clip: Clip) -> Sampling:
    """Returns which frames make the training clips of a video: several clips, where the recipe makes them of each decode."""
    clips = recipe.training.clips_per_video
    return Multi(clips, clip) if clips > 1 else sampling_of(clip)


def make_val_loader(data: RunData, bad: BadVideos, batch_size: int, options: LoaderOptions, group: Group) -> ClipLoader:
    """Makes this rank's part of the validation views."""
    return ClipLoader(
        bad,
        train=False,
        clip=data.recipe.clip,
        crop=data.recipe.crop,
        num_classes=data.recipe.model.num_classes,
        batch_size=batch_size,
        pad_last=True,
        rank=group.rank,
        world_size=group.world,
        graph=data.pipe.eval_pipe,
        options=options,
    )


def make_scorer(
    source: ClipLoader,
    recipe: Recipe,
    bad: BadVideos,
    model: nn.Module,
    precision: Precision,
    group: Group,
    watchdog: Watchdog,
) -> Callable[[Callable[[], bool], Gallery | None], Scores | None]:
    """Returns what the trainer calls after each epoch."""

    def score(stop_requested: Callable[[], bool], gallery: Gallery | None) -> Scores | None:
        def should_stop() -> bool:
            watchdog.heartbeat("while validating")
            return stop_requested()

        return evaluate(
            model,
            source,
            num_classes=recipe.model.num_classes,
            average_probabilities=recipe.model.temporal_pool,
            precision=precision,
            labels=recipe.labels,
            num_listed=len(bad.manifest.listing),
            group=group,
            should_stop=should_stop,
            gallery=gallery,
        )

    return score


def videos_being_read(source: TrainingLoader, val_source: ClipLoader | None) -> list[str]:
    """Returns which videos the workers read, and which the loop waits for."""
    loaders = {"train": source.name} | ({"eval": val_source.name} if val_source else {})
    lines = [
        f"worker {pid} reads or has read last ({kind}): {loaders[kind](index)}"
        for pid, (kind, index) in current_videos().items()
        if kind in loaders
    ]
    return [*lines, "the last training batch asked for:", *(f"  {source.name(index)}" for index in source.current_videos())]


def heartbeat_or_end(heartbeat: Callable[[str], None], signals: StopSignals) -> Callable[[str], None]:
    """Returns what is called while a storage is waited for: a signal ends the run there, with no step to be finished first."""

    def call(doing: str) -> None:
        heartbeat(doing)
        if signals.received:
            raise EndedError(exit_message(signals.received), exit_code(signals.received))

    return call
