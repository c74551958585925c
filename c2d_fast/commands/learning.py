"""How a run learns: its model, what is learnt of it, from which loss, and from which teacher."""

import argparse
import inspect

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from c2d_fast.commands.run_data import RunData
from c2d_fast.commands.teachers import make_teacher
from c2d_fast.errors import UserError
from c2d_fast.model.c2d import C2D
from c2d_fast.model.model_file import of_checkpoint
from c2d_fast.model.precision import Precision
from c2d_fast.model.weights import load_checkpoint, load_weights
from c2d_fast.recipe import Recipe
from c2d_fast.training.averaged_weights import AveragedWeights
from c2d_fast.training.distributed import Group
from c2d_fast.training.mixing import Mixing
from c2d_fast.training.objective import Objective, class_weights
from c2d_fast.training.parameter_groups import freeze
from c2d_fast.training.schedule import make_optimizer, scaled_lr
from c2d_fast.training.train_step import TrainStep


def check_recipe(args: argparse.Namespace, recipe: Recipe, batch_size: int) -> None:
    """Compares what the recipe asks for with what the run has.

    Raises:
        UserError: they do not fit.
    """
    if recipe.training.patience and not args.val_list and not recipe.generated_data:
        raise UserError(
            f"training patience ({recipe.training.patience}): needs validation; give --val-list, or --set training.patience=0"
        )
    clips = recipe.training.clips_per_video
    if recipe.augment.mixes and batch_size < 2 * clips:
        what = "clips of one batch" if clips == 1 else f"{clips} clips of each of several videos of one batch"
        raise UserError(f"--batch-size {batch_size}: mixup and cutmix mix {what}; give {2 * clips} at least")
    _note_epochs(args.epochs, recipe)


def _note_epochs(given: int | None, recipe: Recipe) -> None:
    """Says where --epochs ends what the recipe does in its first epochs; for its own epochs the recipe has compared them."""
    training = recipe.training
    if given and training.warmup_epochs >= given:
        print(f"note: --epochs {given} ends within the recipe's warm-up of {training.warmup_epochs:g} epochs")
    if given and (in_shapes := sum(stage[0] for stage in training.grid)) >= given:
        print(
            f"note: --epochs {given} ends within the recipe's training.grid of {in_shapes} epochs: its own shape is not trained"
        )


def make_model(args: argparse.Namespace, data: RunData) -> C2D:
    """Returns the model with the weights that the run starts or goes on with, on the CPU.

    Raises:
        UserError: they cannot be loaded.
    """
    torch.manual_seed(args.seed)  # the classifier, and the trunk where it starts at random
    model, recipe, content = C2D(data.recipe.model), data.recipe, data.resumed
    if content:
        file = of_checkpoint(content, content["path"], averaged=False)
        load_checkpoint(model, file, recipe, f"--resume {content['path']}")
        if args.weights or args.new_head:
            print("note: --weights and --new-head are left aside, the run goes on with its own weights")
    else:
        print(load_weights(model, args.weights or recipe.training.weights, recipe.model.depth, new_head=args.new_head))
        if recipe.training.freeze and (args.weights or recipe.training.weights) == "none":
            print("note: training freeze keeps parts as they start, which is at random here: give --weights FILE")
    freeze(model, recipe.training)
    if args.sync_bn:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model


def base_lr(args: argparse.Namespace, recipe: Recipe, global_batch: int) -> float:
    """Returns the learning rate for a global batch, and says how it comes about."""
    training = recipe.training
    if not args.auto_scale_lr:
        print(f"learning rate {training.lr:g}, as in the recipe (--no-auto-scale-lr)")
        return training.lr
    lr = scaled_lr(training, global_batch)
    print(f"learning rate {lr:.6g} = {training.lr:g} x {global_batch} / {training.lr_batch} (scaled to the global batch)")
    return lr


def make_step(
    args: argparse.Namespace,
    data: RunData,
    model: C2D,
    compiled: nn.Module,
    precision: Precision,
    lr: float,
    group: Group,
) -> TrainStep:
    """Puts together what takes an optimizer step.

    Args:
        args: of the command.
        data: of the run.
        model: on its device.
        compiled: as it is computed.
        precision: of forward passes.
        lr: the learning rate to start with.
        group: the ranks.

    Raises:
        UserError: the teacher cannot be had, or the optimizer.
    """
    recipe, device = data.recipe, next(model.parameters()).device
    teacher = group.run_leaders_first(lambda: make_teacher(args, data, device, precision))
    return TrainStep(
        model=model,
        forward=_averaging_gradients(compiled, device, group),
        optimizer=group.run_on_all(lambda: make_optimizer(model, recipe.training, lr)),
        scaler=precision.scaler(device),
        precision=precision,
        clip_grad_norm=recipe.training.clip_grad_norm,
        seed=args.seed,
        group=group,
        accumulate=args.accumulate,
        objective=Objective.of(recipe, _class_weights(data, device)),
        mixing=Mixing(recipe.augment, args.seed, recipe.training.clips_per_video) if recipe.augment.mixes else None,
        teacher=teacher,
        averaged=AveragedWeights(model, recipe.training.ema) if recipe.training.ema else None,
    )


def _class_weights(data: RunData, device: torch.device) -> Tensor | None:
    labels = data.recipe.labels
    if labels.class_weights == "none":
        return None
    videos, num_classes = data.train.manifest.videos(), data.recipe.model.num_classes
    known = int((videos.labels >= 0).sum())
    if videos.label_sets is None:
        counts = np.bincount(videos.labels[videos.labels >= 0], minlength=num_classes)
    else:
        counts = np.bincount(videos.label_sets.classes, videos.label_sets.weights, minlength=num_classes)
        known = len(videos) if labels.ignore is None else known
    return class_weights(labels.kind, counts.tolist(), known).to(device)


def _averaging_gradients(model: nn.Module, device: torch.device, group: Group) -> nn.Module:
    """Returns the model as it is trained: with several ranks its gradients are averaged over them."""
    if group.world == 1:
        return model
    # Each rank has running statistics of its own, which the trainer averages once an epoch. The switch has two names: torch is
    # about to drop the older one.
    names = inspect.signature(DistributedDataParallel).parameters
    sync = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True, **{sync: False})  # type: ignore[arg-type]
