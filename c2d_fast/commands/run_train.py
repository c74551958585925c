"""Puts a training run together from the flags: data, model, trainer. Read it top to bottom for the order of events."""

import argparse
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from c2d_fast import console
from c2d_fast.commands.dataset import Decoding, choose_device, loader_options
from c2d_fast.commands.learning import base_lr, check_recipe, make_model, make_step
from c2d_fast.commands.quarantine import Quarantine
from c2d_fast.commands.resume import note_changes, restore
from c2d_fast.commands.run_data import RunData, prepare_data
from c2d_fast.commands.run_loaders import (
    heartbeat_or_end,
    make_scorer,
    make_train_loader,
    make_val_loader,
    train_sampling,
    videos_being_read,
)
from c2d_fast.commands.teachers import check_teacher, sha256_of
from c2d_fast.errors import EndedError, UserError
from c2d_fast.loading.clip_loader import ClipLoader
from c2d_fast.loading.pipelines import LoaderOptions
from c2d_fast.loading.shape_schedule import TrainingLoader
from c2d_fast.model.c2d import compile_model
from c2d_fast.model.precision import Precision
from c2d_fast.processes.early_signals import exit_message
from c2d_fast.processes.signals import StopSignals, exit_code
from c2d_fast.recipe import Recipe
from c2d_fast.reporting.gauges import Gauges
from c2d_fast.reporting.no_records import NoRecords
from c2d_fast.reporting.picture_schedule import PictureSchedule
from c2d_fast.reporting.records import Records
from c2d_fast.reporting.trackers import check_tracker, start_tracker
from c2d_fast.training.batch_finder import find_batch_size
from c2d_fast.training.batch_log import BatchLog
from c2d_fast.training.batch_norm import check_batch_size
from c2d_fast.training.checkpoints import Checkpoints
from c2d_fast.training.determinism import make_deterministic, tune_kernels
from c2d_fast.training.distributed import Group, group_of_environment
from c2d_fast.training.progress import Progress, StoppedError
from c2d_fast.training.run_folder import describe_run, write_config
from c2d_fast.training.step_profile import STEPS, StepProfile
from c2d_fast.training.trainer import Trainer
from c2d_fast.training.watchdog import Watchdog


def run_train(args: argparse.Namespace) -> None:
    """Trains as the flags of `c2d_fast.train` say, in one process or as one of torchrun's.

    Raises:
        UserError: anything that the user can mend.
        EndedError: a signal has ended the run, or another process of it is gone.
    """
    with group_of_environment() as group, prepare_data(args, group) as data:
        _train(args, data, group)


def _train(args: argparse.Namespace, data: RunData, group: Group) -> None:
    recipe, content, device = data.recipe, data.resumed, choose_device()
    tune_kernels(device)
    if args.deterministic:
        print(make_deterministic(device))
    group.run_on_all(lambda: _check_flags(args, recipe, device, group))
    precision = Precision.choose(args.precision, device)
    batch_size = group.run_on_first(lambda: _batch_size(args, data, device, precision, group))
    quarantine = Quarantine(data.folder, group, data.train, data.val, forget=args.forget_quarantine and not data.restarted)
    options = loader_options(
        data.train,
        args,
        device,
        recipe,
        batch_size=batch_size,
        group=group,
        before=_decoding_before(data, ""),
        sampling=train_sampling(recipe, recipe.clip),
        measures="shared",
    )
    source = group.run_on_all(lambda: make_train_loader(args, data, batch_size, options, quarantine.known, group))
    val_options = _val_options(args, data, device, batch_size, group)
    model = group.run_leaders_first(lambda: make_model(args, data)).to(device)
    compiled = compile_model(model, args.compile, device)
    val_source = make_val_loader(data, data.val, batch_size, val_options, group) if data.val and val_options else None
    lr = base_lr(args, recipe, source.clips_per_step)
    step = make_step(args, data, model, compiled, precision, lr, group)
    epochs = args.epochs or recipe.training.epochs
    config = describe_run(
        vars(args),
        **data.recipe_facts(),
        lists=[item.facts() for item in data.lists],
        videos=data.sha256,
        classes=data.classes,
        used={
            "device": str(device),
            "decoder": options.decoder,
            "val_decoder": val_options.decoder if val_options else None,
            "hybrid_share": options.hybrid_share,
            "val_hybrid_share": val_options.hybrid_share if val_options else 0.0,
            "decode_batch": options.decode_batch,
            "workers": options.workers,
            "decoder_threads": options.decoder_threads,
            "precision": precision.name,
            "compiled": compiled is not model,
            "batch_size": batch_size,
            "ranks": group.world,
            "accumulate": args.accumulate,
            "global_batch": source.clips_per_step,
            "sync_bn": args.sync_bn,
            "epochs": epochs,
            "base_lr": lr,
            "teacher": sha256_of(args.teacher) if args.teacher else None,
        },
        left_out=data.train.found + (data.val.found if data.val else []),
    )
    parts = ("recipe", "recipe_sha256", "overrides", "pipe_file", "versions", "lists", "videos", "classes", "used")
    identity = {key: config[key] for key in parts} | {"seed": args.seed, "left_out_rows": data.train.excluded_rows()}
    if content:
        note_changes(content, identity)
    ranks = f", {group.world} ranks" if group.world > 1 else ""
    steps = f"{epochs} epochs of {source.steps_per_epoch} steps"
    print(f"training {recipe.name} for {steps} on {device}{ranks}; run folder {data.folder}")
    data.open_folder(group)
    progress = Progress(**content["progress"]) if content else Progress()
    signals = StopSignals()
    trainer = Trainer(
        step=step,
        training=recipe.training,
        base_lr=lr,
        source=BatchLog(source, data.folder, group.rank, args.accumulate) if args.log_batches else source,
        validate=None,
        records=group.run_on_all(lambda: _records(data, config, progress, source, epochs, group)),
        checkpoints=Checkpoints(
            data.folder, keep=args.keep, every_steps=args.checkpoint_steps, every_s=60 * args.checkpoint_minutes
        ),
        identity=identity,
        progress=progress,
        group=group,
        signals=signals,
        problems=quarantine,
        profile=StepProfile(data.folder, device) if args.profile and group.is_first else None,
    )
    if content:
        group.run_on_all(lambda: restore(trainer, content))
    watchdog = _watchdog(args, data, trainer, source, val_source)
    if val_source and data.val:
        scored = _scored_model(args, trainer, compiled)
        trainer.val_name = val_source.name
        trainer.validate = make_scorer(val_source, recipe, data.val, scored, precision, group, watchdog)
    with watchdog:
        _run(trainer, epochs, quarantine)
    _finish(trainer, data)


def _check_flags(args: argparse.Namespace, recipe: Recipe, device: torch.device, group: Group) -> None:
    check_teacher(args.teacher, recipe.distill, recipe.name)
    if group.is_first:
        check_tracker(args.tracker)
    if args.sync_bn and (device.type != "cuda" or group.world == 1):
        raise UserError("--sync-bn: needs several GPUs, and a rank for each; leave it out")


def _batch_size(args: argparse.Namespace, data: RunData, device: torch.device, precision: Precision, group: Group) -> int:
    if args.batch_size != "auto":
        size = args.batch_size or data.recipe.training.clips_per_gpu
    elif before := _before(data, "batch_size"):
        print(f"batch size auto: {before:g}, as the run had it before")
        size = int(before)
    else:
        size, line = find_batch_size(data.recipe, device, precision, len(data.train.manifest.kept))
        print(line)
    check_recipe(args, data.recipe, size)
    return check_batch_size(data.recipe, size, group.world if args.sync_bn else 1)


def _before(data: RunData, name: str) -> float | None:
    """Returns a number that a run which goes on used before; None where there is none."""
    used = data.resumed.get("used") if data.resumed else None
    value = used.get(name) if isinstance(used, dict) else None
    return value if isinstance(value, (int, float)) and 0 < value < 2**20 else None


def _val_options(
    args: argparse.Namespace, data: RunData, device: torch.device, batch_size: int, group: Group
) -> LoaderOptions | None:
    if not data.val:
        return None
    before = _decoding_before(data, "val_")
    how: dict[str, Any] = {"batch_size": batch_size, "group": group, "before": before, "measures": "faster"}
    return loader_options(data.val, args, device, data.recipe, **how)


def _decoding_before(data: RunData, list_prefix: str) -> Decoding:
    """Returns how a run that goes on has decoded its training list, or (val_) the other, where auto may have chosen that."""
    used = data.resumed.get("used") if data.resumed else None
    decoder = used.get(f"{list_prefix}decoder") if isinstance(used, dict) else None
    share = _before(data, f"{list_prefix}hybrid_share") or 0.0
    share = share if share <= 1 else 0.0
    known = decoder if decoder in ("nvdec", "ffmpeg") or (decoder == "hybrid" and share) else ""
    return Decoding(known, share)


def _scored_model(args: argparse.Namespace, trainer: Trainer, compiled: nn.Module) -> nn.Module:
    """Returns what is validated: the averaged weights, where there are any."""
    averaged = trainer.step.averaged
    return compile_model(averaged.model, args.compile, trainer.step.device) if averaged else compiled


def _watchdog(
    args: argparse.Namespace, data: RunData, trainer: Trainer, source: TrainingLoader, val_source: ClipLoader | None
) -> Watchdog:
    """Returns what ends the run when it gets no further; the trainer tells it that it does."""
    watchdog = Watchdog(
        60 * args.stall_minutes,
        data.folder,
        trainer.group.rank,
        videos_being_read=lambda: videos_being_read(source, val_source),
        emergency_save=trainer.emergency_save,
    )
    trainer.heartbeat = watchdog.heartbeat
    for loader in (source, val_source) if val_source else (source,):
        loader.set_heartbeat(heartbeat_or_end(watchdog.heartbeat, trainer.signals))
    return watchdog


def _records(
    data: RunData, config: dict[str, Any], progress: Progress, source: TrainingLoader, epochs: int, group: Group
) -> Records:
    if not group.is_first:
        return NoRecords()
    write_config(data.folder, config)
    left = (epochs - progress.epoch) * source.steps_per_epoch - progress.clips // source.clips_per_step
    pictures = PictureSchedule(
        epochs=epochs,
        every=config["flags"]["pictures_every"],
        classes=data.classes or (),
        published=data.recipe.reference,
    )
    total = progress.step + max(left, 0)
    start = {"first_step": progress.step, "epochs": progress.epoch, "total_steps": total}
    tracker = start_tracker(config["flags"]["tracker"], data.folder, config, resumed=data.resumed is not None)
    records = Records(data.folder, **start, pictures=pictures, gauges=Gauges(), tracker=tracker)
    records.config(config)
    return records


def _run(trainer: Trainer, epochs: int, quarantine: Quarantine) -> None:
    records, last = trainer.records, trainer.checkpoints.last
    finished = False
    try:
        with trainer.signals, trainer.profile or nullcontext():
            trainer.run(epochs)
        finished = True
    except StoppedError as stopped:
        records.say(f"{last} holds step {trainer.progress.step}; go on from there with --resume auto --out {last.parent}")
        raise EndedError(exit_message(stopped.number), exit_code(stopped.number)) from None
    except EndedError as ended:  # by what is none of the run's faults: what has been computed is kept
        raise EndedError(f"{ended}; {trainer.emergency_save()}", ended.exit_code) from ended
    finally:
        if trainer.group.world == 1:  # what ended the run may have been a broken video too many
            quarantine.write_pending()
        quarantine.close()
        records.close(finished=finished)


def _finish(trainer: Trainer, data: RunData) -> None:
    """Says what came of it.

    Raises:
        UserError: validation could not score all of its list.
    """
    profile, progress, folder = trainer.profile, trainer.progress, data.folder
    if profile and not profile.verdict:
        print(f"note: --profile needs {STEPS} steps at least in one go: this run had too few, and nothing was traced")
    if progress.skipped:
        where = folder / "nonfinite.jsonl"
        console.result(f"{progress.skipped} steps were not applied, because a gradient was not finite: {where}")
    if progress.best_epoch:
        epoch = progress.best_epoch
        name = "mAP" if data.recipe.labels.kind == "several" else "top-1"
        console.result(f"best validation {name} {progress.best_top1:.1f} % after epoch {epoch}: {folder / 'best.pt'}")
    print(f"look at it: tensorboard --logdir {folder.parent}")
    if data.val:
        trainer.group.run_on_all(data.val.check_all_scored)
