"""Which parameters are learnt, how fast, and which batch normalisations use the statistics of the batch."""

import re
from typing import Any

from torch import Tensor, nn

from c2d_fast.recipe import Training

HEAD = 5
"""Parts of a model, from the input on: 0 the stem, 1 to 4 the stages, 5 the classifier."""


def part_of(name: str) -> int:
    """Returns the part that a parameter or module is of; a non-local block is of the stage that it stands in."""
    stage = re.search(r"\blayer(\d)", name)
    if stage:
        return int(stage[1])
    return HEAD if name.split(".", maxsplit=1)[0] in ("fc", "dropout") else 0


def freeze(model: nn.Module, training: Training) -> None:
    """Has the first parts of a model stay as they are: their parameters get no gradient."""
    for name, parameter in model.named_parameters():
        if part_of(name) < training.freeze:
            parameter.requires_grad_(False)


def set_training_mode(model: nn.Module, training: Training) -> None:
    """Puts a model into training mode, but for batch normalisations that the recipe or freezing keeps out of it."""
    model.train()
    if not training.freeze and training.norms == "train":
        return
    norms = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for place, (name, norm) in enumerate(norms):
        is_kept = training.norms == "frozen" or (training.norms == "first" and place > 0)
        if is_kept or part_of(name) < training.freeze:
            norm.eval()


def parameter_groups(model: nn.Module, training: Training) -> list[dict[str, Any]]:
    """Returns what an optimizer is given: the parameters that are learnt, in groups of one rate and one weight decay.

    Each group's lr_scale is what the learning rate is multiplied by. As published there is one group of all parameters.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = training.layer_decay ** (HEAD - part_of(name)) if training.layer_decay != 1 else 1.0
        decay = training.weight_decay if training.decay_norms or parameter.ndim > 1 else 0.0
        groups.setdefault((scale, decay), []).append(parameter)
    return [{"params": group, "lr_scale": scale, "weight_decay": decay} for (scale, decay), group in groups.items()]
