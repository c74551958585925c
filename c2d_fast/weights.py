"""What a training starts from: torchvision's ImageNet weights, a file, or nothing."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor

from c2d_fast.checkpoint import FORMAT, read_file
from c2d_fast.errors import UserError
from c2d_fast.model import C2D
from c2d_fast.recipe import Recipe

_IMAGENET = {
    18: torchvision.models.ResNet18_Weights.IMAGENET1K_V1,  # there is no V2 of it
    50: torchvision.models.ResNet50_Weights.IMAGENET1K_V2,
    101: torchvision.models.ResNet101_Weights.IMAGENET1K_V2,
}


def load_weights(model: C2D, source: str, depth: int) -> str:
    """Puts starting weights into a model.

    Args:
        model: any C2D of this depth.
        source: imagenet (IMAGENET1K_V2, downloaded once by torchvision), none, or the path of a torchvision ResNet state
            dict or of a checkpoint of ours.
        depth: of the ResNet, 18, 50 or 101.

    Returns:
        One line that says what was loaded.

    Raises:
        UserError: the file or the download is not to be had, or is not of this model.
    """
    if source == "none":
        return "weights: none, the trunk starts at random"
    if source == "imagenet":
        state, name = _download(depth), f"{_IMAGENET[depth]}"
    else:
        state, name = _read_state(source), source
    head = {key: value for key, value in state.items() if key.startswith("fc.")}
    # Another data set's classifier is of no use: it starts anew.
    keep_head = all(getattr(head.get(f"fc.{key}"), "shape", None) == value.shape for key, value in model.fc.named_parameters())
    chosen = {key: value for key, value in state.items() if keep_head or key not in head}
    fit_state(model, chosen, f"--weights {source}", optional=() if keep_head else ("fc.weight", "fc.bias"))
    return f"weights: {name}" + ("" if keep_head else ", classifier new")


def load_checkpoint(model: C2D, content: dict[str, Any], recipe: Recipe, what: str) -> None:
    """Loads a checkpoint of ours into the recipe's model.

    Raises:
        UserError: it is of another model.
    """
    # With and without temporal pool the parameters have the same names and shapes: the stored recipe tells them apart.
    for field, ours in (("depth", recipe.model.depth), ("temporal_pool", recipe.model.temporal_pool)):
        theirs = content["recipe"]["model"][field]
        if theirs != ours:
            raise UserError(
                f"{what}: is of another model: its {field} is {theirs}, that of {recipe.name} is {ours}; give the checkpoint's "
                f"own pipe file ({content['recipe']['name']})"
            )
    fit_state(model, content["model"], what)


def fit_state(model: C2D, state: dict[str, Tensor], what: str, optional: tuple[str, ...] = ()) -> None:
    """Loads a state dict that must fit exactly, but for optional keys that may be absent.

    Raises:
        UserError: keys are missing, unexpected or of another shape; the first of each are named.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state and key not in optional]
    unexpected = [key for key in state if key not in own]
    misshaped = [
        f"{key} {list(value.shape) if isinstance(value, Tensor) else type(value).__name__} instead of {list(own[key].shape)}"
        for key, value in state.items()
        if key in own and (not isinstance(value, Tensor) or value.shape != own[key].shape)
    ]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
    named = [f"{len(keys)} {kind} (first {keys[0]})" for kind, keys in problems.items() if keys]
    if named:
        raise UserError(f"{what}: is of another model: keys {', '.join(named)}; give the file that belongs to this pipe file")
    model.load_state_dict(state, strict=False)


def _read_state(source: str) -> dict[str, Tensor]:
    content = read_file(Path(source), "--weights")
    state = content.get("model") if content.get("format") == FORMAT else content
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise UserError(f"--weights {source}: holds no state dict; give a torchvision ResNet's or a checkpoint of ours")
    return state


def _download(depth: int) -> dict[str, Tensor]:
    weights = _IMAGENET[depth]
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (URLError, OSError, RuntimeError) as error:
        file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
        raise UserError(
            f"--weights imagenet: {weights.url} could not be downloaded ({error}); fetch it on a machine with network and "
            f"give it with --weights FILE (or put it at {file}), or start at random with --weights none"
        ) from error
    return state
