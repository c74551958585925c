"""The loaders of a training run, and how it validates."""

import argparse
from collections.abc import Callable

from torch import nn

from c2d_fast.commands.run_data import RunData
from c2d_fast.errors import EndedError
from c2d_fast.loading.clip_loader import ClipLoader
from c2d_fast.loading.pipelines import LoaderOptions
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.model.precision import Precision
from c2d_fast.processes.early_signals import exit_message
from c2d_fast.processes.signals import StopSignals, exit_code
from c2d_fast.processes.worker_stacks import current_videos
from c2d_fast.recipe import Recipe
from c2d_fast.reporting.gallery import Gallery
from c2d_fast.reporting.scores import Scores
from c2d_fast.training.distributed import Group
from c2d_fast.training.evaluate import evaluate
from c2d_fast.training.trainer import Progress
from c2d_fast.training.watchdog import Watchdog


def make_train_loader(
    args: argparse.Namespace,
    data: RunData,
    batch_size: int,
    options: LoaderOptions,
    quarantined: frozenset[int],
    group: Group,
) -> ClipLoader:
    """Makes the training batches of this rank, and starts to read those that the run goes on with."""
    source = ClipLoader(
        data.train,
        clip=data.recipe.clip,
        crop=data.recipe.crop,
        num_classes=data.recipe.model.num_classes,
        seed=args.seed,
        batch_size=batch_size,
        accumulate=args.accumulate,
        rank=group.rank,
        world_size=group.world,
        graph=data.pipe.train_pipe,
        options=options,
    )
    source.exclude(quarantined)
    progress = Progress(**data.resumed["progress"]) if data.resumed else Progress()
    source.start(progress.epoch, progress.clips // source.clips_per_step)
    return source


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
            num_listed=len(bad.manifest.listing),
            group=group,
            should_stop=should_stop,
            gallery=gallery,
        )

    return score


def videos_being_read(source: ClipLoader, val_source: ClipLoader | None) -> list[str]:
    """Returns which videos the workers read, and which the loop waits for."""
    loaders = {"train": source} | ({"eval": val_source} if val_source else {})
    lines = [
        f"worker {pid} reads or has read last ({kind}): {loaders[kind].name(index)}"
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
