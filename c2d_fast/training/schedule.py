"""The optimizer and its learning rate."""

from typing import Any

import torch
from torch import Tensor, nn

from c2d_fast.recipe import Training


def make_optimizer(model: nn.Module, training: Training, lr: float) -> torch.optim.SGD:
    """SGD with momentum; weight decay on every parameter, as published. On a GPU one fused kernel updates all of them."""
    parameters = list(model.parameters())
    fused = parameters[0].device.type == "cuda"
    optimizer = torch.optim.SGD(parameters, lr=lr, momentum=training.momentum, weight_decay=training.weight_decay, fused=fused)
    if fused and training.momentum:
        # A first step that is skipped on the device would leave the buffers as they were allocated. From zero it is the same.
        for parameter in parameters:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def scaled_lr(training: Training, global_batch: int) -> float:
    """Returns the recipe's rate for a global batch of that many clips (linear scaling)."""
    return training.lr * global_batch / training.lr_batch


def lr_at(epoch: int, base_lr: float, training: Training) -> float:
    """Returns the learning rate of an epoch, counted from 0: multiplied by gamma at each milestone passed."""
    return base_lr * training.gamma ** sum(epoch >= milestone for milestone in training.milestones)


def load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Loads what an optimizer has gathered. Its options are this run's: of another recipe, or of another device.

    Raises:
        ValueError: it is of other parameters.
    """
    own = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    fresh = {parameter: dict(moments) for parameter, moments in optimizer.state.items()}
    optimizer.load_state_dict(state)
    for group, options in zip(optimizer.param_groups, own, strict=True):
        group.update(options)
    for parameter, moments in optimizer.state.items():
        buffer = moments.get("momentum_buffer")
        if buffer is not None and not (
            isinstance(buffer, Tensor) and buffer.shape == parameter.shape and buffer.is_floating_point()
        ):
            raise ValueError("a momentum that is not of its parameter's shape")
    for parameter, moments in fresh.items():  # a checkpoint of before the first step has none
        if optimizer.state[parameter].get("momentum_buffer") is None:
            optimizer.state[parameter].update(moments)
