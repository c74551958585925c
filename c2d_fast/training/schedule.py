"""The optimizer and its learning rate."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from c2d_fast.errors import UserError
from c2d_fast.recipe import Training
from c2d_fast.training.parameter_groups import parameter_groups


def make_optimizer(model: nn.Module, training: Training, lr: float) -> torch.optim.Optimizer:
    """Returns the recipe's optimizer; as published SGD with momentum, and weight decay on every parameter.

    On a GPU one fused kernel updates all parameters, of SGD and AdamW.

    Raises:
        UserError: timm, which LAMB is taken from, is not installed.
    """
    groups = parameter_groups(model, training)
    if not groups:
        raise UserError("training freeze (5): leaves nothing to be learnt in this model; take a smaller number")
    fused = next(model.parameters()).device.type == "cuda"
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=training.betas, fused=fused)
    if training.optimizer == "lamb":
        return _lamb(groups, training, lr)
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=training.momentum, fused=fused)
    if fused and training.momentum:
        # A first step that is skipped on the device would leave the buffers as they were allocated. From zero it is the same.
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def _lamb(groups: list[dict[str, Any]], training: Training, lr: float) -> torch.optim.Optimizer:
    try:
        from timm.optim.lamb import Lamb
    except ImportError as error:
        raise UserError("training optimizer (lamb): needs the package timm; pip install timm, or take adamw") from error
    # Gradients are clipped already, for all optimizers alike.
    optimizer: torch.optim.Optimizer = Lamb(groups, lr=lr, betas=training.betas, max_grad_norm=None)
    return optimizer


def scaled_lr(training: Training, global_batch: int) -> float:
    """Returns the recipe's rate for a global batch of that many clips (linear scaling)."""
    return training.lr * global_batch / training.lr_batch


def lr_at(epoch: float, base_lr: float, training: Training, epochs: int | None = None) -> float:
    """Returns the learning rate at a moment of a run.

    Args:
        epoch: counted from 0; a step within it is a part of it: the first of 100 steps has 0.0, the second 0.01.
        base_lr: the rate before any factor.
        training: the schedule: its steps, multiplied by gamma at each milestone passed, or half a cosine.
        epochs: of the run; None: the recipe's.
    """
    warmup = training.warmup_epochs
    lr = _scheduled(max(epoch, warmup), base_lr, training, training.epochs if epochs is None else epochs)
    if epoch < warmup:
        lr *= training.warmup_factor + (1 - training.warmup_factor) * epoch / warmup
    return lr


def _scheduled(epoch: float, base_lr: float, training: Training, epochs: int) -> float:
    if training.schedule == "steps":
        return base_lr * training.gamma ** sum(epoch >= milestone for milestone in training.milestones)
    after = max(epochs - training.warmup_epochs, 1e-9)
    share = (1 + math.cos(math.pi * min((epoch - training.warmup_epochs) / after, 1))) / 2
    return base_lr * (training.final_factor + (1 - training.final_factor) * share)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Gives all groups of parameters the rate, each times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"] if group.get("lr_scale", 1.0) != 1.0 else lr


def load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Loads what an optimizer has gathered. Its options are this run's: of another recipe, or of another device.

    Raises:
        ValueError: it is of other parameters, or of another kind of optimizer.
    """
    own = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    fresh = {parameter: dict(moments) for parameter, moments in optimizer.state.items()}
    optimizer.load_state_dict(state)
    for group, options in zip(optimizer.param_groups, own, strict=True):
        group.update(options)
    known = _MOMENTS[type(optimizer).__name__]
    for parameter, moments in optimizer.state.items():
        if unknown := set(moments) - known:
            raise ValueError(f"moments of another optimizer: {', '.join(map(str, sorted(unknown, key=str)))}")
        for name, buffer in moments.items():
            if (
                name != "step"
                and buffer is not None
                and not (isinstance(buffer, Tensor) and buffer.shape == parameter.shape and buffer.is_floating_point())
            ):
                raise ValueError("a momentum that is not of its parameter's shape")
    for parameter, moments in fresh.items():  # a checkpoint of before the first step has none
        if optimizer.state[parameter].get("momentum_buffer") is None:
            optimizer.state[parameter].update(moments)


_MOMENTS = {
    "SGD": {"momentum_buffer"},
    "AdamW": {"step", "exp_avg", "exp_avg_sq"},
    "Lamb": {"exp_avg", "exp_avg_sq"},
}
"""What each optimizer gathers for a parameter."""
