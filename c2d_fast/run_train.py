"""Puts a training run together from the flags: data, model, trainer. Read it top to bottom for the order of events."""

import argparse
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from c2d_fast import checkpoint
from c2d_fast.bad_videos import BadVideos, parse_limit
from c2d_fast.batch_finder import find_batch_size
from c2d_fast.data_flags import label_names, training_lists, with_classes
from c2d_fast.dataset import choose_device, loader_options, scored_videos, training_videos, videos_at_a_time
from c2d_fast.determinism import make_deterministic
from c2d_fast.errors import UserError
from c2d_fast.evaluate import Scores, evaluate
from c2d_fast.label_map import check_same_classes
from c2d_fast.listing import Listing
from c2d_fast.loader import EvalLoader, LoaderOptions, TrainLoader
from c2d_fast.model import C2D, compile_model
from c2d_fast.model_file import of_checkpoint
from c2d_fast.plan import EvalPlan, TrainPlan
from c2d_fast.precision import Precision
from c2d_fast.recipe import PipeFile, Recipe, load_pipe
from c2d_fast.records import Records
from c2d_fast.run_folder import check_folder, choose_folder, describe_run, make_folder, write_config
from c2d_fast.schedule import make_optimizer, scaled_lr
from c2d_fast.step_profile import STEPS, StepProfile
from c2d_fast.trainer import Progress, Trainer
from c2d_fast.weights import load_checkpoint, load_weights


def run_train(args: argparse.Namespace) -> None:
    """Trains as the flags of `c2d_fast.train` say.

    Raises:
        UserError: anything that the user can mend.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("WORLD_SIZE is above 1: training in several processes is not built yet; start one process")
    limit = parse_limit(args.max_bad_videos)
    pipe, names = load_pipe(args.pipe), label_names(args)
    recipe = with_classes(pipe.recipe, args, names)
    folder, resumed_from = choose_folder(args.out, args.resume, recipe.name)
    train_list, val_list = training_lists(args, recipe, names)
    check_folder(folder)
    content = _load_resumed(resumed_from, train_list) if resumed_from else None

    device = choose_device()
    if args.deterministic:
        print(make_deterministic(device))
    train_bad = training_videos(train_list, args, limit)
    val_bad = scored_videos(val_list, args) if val_list else None
    precision = Precision.choose(args.precision, device)
    batch_size = _batch_size(args, recipe, content, device, precision, len(train_bad.manifest.kept))
    options = loader_options(train_bad, args, device)
    source = _training(pipe, recipe, train_bad, args.seed, batch_size, options)
    source.start(content["progress"]["epoch"] if content else 0)
    val_options = loader_options(val_bad, args, device) if val_bad else None
    model = _make_model(args, recipe, resumed_from, content).to(device)
    compiled = compile_model(model, args.compile, device)
    validate = None
    if val_bad and val_options:
        validate = _validation(pipe, recipe, val_bad, compiled, precision, batch_size, val_options)
    lr = _base_lr(args, recipe, batch_size)
    epochs = args.epochs or recipe.training.epochs
    config = describe_run(
        vars(args),
        recipe=recipe.as_dict(),
        lists=[item.facts() for item in (train_list, val_list) if item],
        classes=list(train_list.classes) if train_list.classes else None,
        used={
            "device": str(device),
            "decoder": options.decoder,
            "val_decoder": val_options.decoder if val_options else None,
            "workers": options.workers,
            "decoder_threads": options.decoder_threads,
            "precision": precision.name,
            "compiled": compiled is not model,
            "batch_size": batch_size,
            "epochs": epochs,
            "base_lr": lr,
        },
        left_out=train_bad.found + (val_bad.found if val_bad else []),
    )
    _note_changes(content, config, args.seed)
    print(f"training {recipe.name} for {epochs} epochs of {source.steps_per_epoch} steps on {device}; run folder {folder}")
    make_folder(folder)
    write_config(folder, config)
    first_step = content["progress"]["epoch"] * source.steps_per_epoch if content else 0
    records = Records(folder, first_step=first_step, total_steps=epochs * source.steps_per_epoch)
    records.config(config)
    trainer = Trainer(
        model=model,
        compiled=compiled,
        optimizer=make_optimizer(model, recipe.training, lr),
        scaler=precision.scaler(device),
        training=recipe.training,
        base_lr=lr,
        precision=precision,
        source=source,
        validate=validate,
        records=records,
        folder=folder,
        identity={key: config[key] for key in ("recipe", "versions", "lists", "classes", "used")} | {"seed": args.seed},
        seed=args.seed,
        progress=Progress(),
        profile=StepProfile(folder, device) if args.profile else None,
    )
    if content:
        _restore(trainer, content, f"--resume {resumed_from}")
    _run(trainer, epochs)


def _batch_size(
    args: argparse.Namespace,
    recipe: Recipe,
    content: dict[str, Any] | None,
    device: torch.device,
    precision: Precision,
    num_videos: int,
) -> int:
    if args.batch_size != "auto":
        return args.batch_size or recipe.training.clips_per_gpu
    used = content.get("used") if content else None
    if isinstance(used, dict) and isinstance(used.get("batch_size"), int):
        print(f"batch size auto: {used['batch_size']}, as the run had it before")
        return int(used["batch_size"])
    size, line = find_batch_size(recipe, device, precision, num_videos)
    print(line)
    return size


def _run(trainer: Trainer, epochs: int) -> None:
    records, folder = trainer.records, trainer.folder
    try:
        with trainer.profile or nullcontext():
            trainer.run(epochs)
    except KeyboardInterrupt:
        done = f"{folder / 'last.pt'} holds the end of epoch {trainer.progress.epoch}"
        records.say(f"{done}; go on from there with --resume auto --out {folder}")
        raise
    finally:
        records.close()
    if trainer.profile and not trainer.profile.verdict:
        print(f"note: --profile needs {STEPS} steps at least in one go: this run had too few, and nothing was traced")
    progress = trainer.progress
    if progress.best_epoch:
        print(f"best validation top-1 {progress.best_top1:.1f} % after epoch {progress.best_epoch}: {folder / 'best.pt'}")
    print(f"look at it: tensorboard --logdir {folder.parent}")


def _make_model(args: argparse.Namespace, recipe: Recipe, resumed_from: Path | None, content: dict[str, Any] | None) -> C2D:
    torch.manual_seed(args.seed)  # the classifier, and the trunk where it starts at random
    model = C2D(recipe.model)
    if content and resumed_from:
        load_checkpoint(model, of_checkpoint(content, resumed_from), recipe, f"--resume {resumed_from}")
        if args.weights or args.new_head:
            print("note: --weights and --new-head are left aside, the run goes on with its own weights")
        print(f"resuming from {resumed_from}, after epoch {content['progress']['epoch']}")
    else:
        print(load_weights(model, args.weights or recipe.training.weights, recipe.model.depth, new_head=args.new_head))
    return model


def _load_resumed(path: Path, train_list: Listing) -> dict[str, Any]:
    content = checkpoint.load(path, "--resume")
    if train_list.classes and isinstance(content.get("classes"), list):
        remedy = "its classifier would mean others: give the same classes, or start a new run from it with --weights"
        check_same_classes(train_list.classes, tuple(map(str, content["classes"])), f"list {train_list.path}", remedy)
    return content


def _restore(trainer: Trainer, content: dict[str, Any], what: str) -> None:
    try:
        trainer.restore(content)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{what}: its optimizer or scaler is not of this run ({error!r:.200})") from error


def _note_changes(content: dict[str, Any] | None, config: dict[str, Any], seed: int) -> None:
    """Says in what a resumed run differs from what it was: it goes on, but not as the same run would have."""
    if content is None:
        return
    if content.get("seed") != seed:
        print(f"note: it was trained with --seed {content.get('seed')}, and goes on with {seed}")
    lists = content.get("lists")
    hashes = [item.get("sha256") for item in lists if isinstance(item, dict)] if isinstance(lists, list) else []
    if hashes != [item["sha256"] for item in config["lists"]]:
        print("note: it was trained or validated on other lists than these")
    used = content.get("used")
    batch_size, batch_size_now = used.get("batch_size") if isinstance(used, dict) else None, config["used"]["batch_size"]
    if batch_size != batch_size_now:
        print(f"note: it was trained with --batch-size {batch_size}, and goes on with {batch_size_now}")


def _training(
    pipe: PipeFile, recipe: Recipe, bad: BadVideos, seed: int, batch_size: int, options: LoaderOptions
) -> TrainLoader:
    plan = TrainPlan(
        videos=bad.manifest.videos(),
        clip=recipe.clip,
        crop=recipe.crop,
        seed=seed,
        batch_size=batch_size,
        name=str(bad.manifest.listing.path),
    )
    return TrainLoader(pipe.train_pipe, plan, options, bad)


def _validation(
    pipe: PipeFile,
    recipe: Recipe,
    bad: BadVideos,
    model: torch.nn.Module,
    precision: Precision,
    batch_size: int,
    options: LoaderOptions,
) -> Callable[[], Scores]:
    videos = bad.manifest.videos()
    size = min(batch_size, videos_at_a_time(videos, recipe.clip.num_frames))
    plan = EvalPlan(videos=videos, clip=recipe.clip, crop=recipe.crop, batch_size=size)
    source = EvalLoader(pipe.eval_pipe, plan, options, bad, views_per_batch=batch_size)
    return lambda: evaluate(
        model,
        source,
        num_classes=recipe.model.num_classes,
        average_probabilities=recipe.model.temporal_pool,
        precision=precision,
        num_listed=len(bad.manifest.listing),
    )


def _base_lr(args: argparse.Namespace, recipe: Recipe, batch_size: int) -> float:
    training = recipe.training
    if not args.auto_scale_lr:
        print(f"learning rate {training.lr:g}, as in the recipe (--no-auto-scale-lr)")
        return training.lr
    lr = scaled_lr(training, batch_size)
    print(f"learning rate {lr:.6g} = {training.lr:g} x {batch_size} / {training.lr_batch} (scaled to the global batch)")
    return lr
