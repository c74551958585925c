"""The loaders of a training run, and how it validates."""

import argparse
from collections.abc import Callable

from torch import nn

from c2d_fast.commands.dataset import scored_at_a_time
from c2d_fast.commands.run_data import RunData
from c2d_fast.errors import EndedError
from c2d_fast.loading.loader import EvalLoader, LoaderOptions, TrainLoader
from c2d_fast.loading.plan import EvalPlan, TrainPlan
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
) -> TrainLoader:
    """Makes the training batches of this rank, and starts to read those that the run goes on with."""
    plan = TrainPlan(
        videos=data.train.manifest.videos(),
        clip=data.recipe.clip,
        crop=data.recipe.crop,
        seed=args.seed,
        batch_size=batch_size,
        rank=group.rank,
        world=group.world,
        accumulate=args.accumulate,
        quarantined=quarantined,
        name=str(data.lists[0].path),
    )
    source = TrainLoader(data.pipe.train_pipe, plan, options, data.train)
    progress = Progress(**data.resumed["progress"]) if data.resumed else Progress()
    source.start(progress.epoch, progress.clips // plan.clips_per_step)
    return source


def make_val_loader(data: RunData, bad: BadVideos, batch_size: int, options: LoaderOptions, group: Group) -> EvalLoader:
    """Makes this rank's part of the validation views."""
    videos, recipe = bad.manifest.videos(), data.recipe
    size = min(batch_size, scored_at_a_time(videos, recipe, 1, options))
    plan = EvalPlan(videos=videos, clip=recipe.clip, crop=recipe.crop, batch_size=size, rank=group.rank, world=group.world)
    return EvalLoader(data.pipe.eval_pipe, plan, options, bad, views_per_batch=batch_size)


def make_scorer(
    source: EvalLoader,
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


def videos_being_read(source: TrainLoader, val_source: EvalLoader | None) -> list[str]:
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
