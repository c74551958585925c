"""What a model's weights come from: torchvision's ImageNet weights, a file of any known form, or nothing."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor

from c2d_fast.errors import UserError, on_one_line
from c2d_fast.model.c2d import C2D
from c2d_fast.model.model_file import ModelFile, read_model_file
from c2d_fast.recipe import MOST_CLASSES, Recipe, stored_part
from c2d_fast.recipe_training import LABEL_KINDS

_IMAGENET = {
    18: torchvision.models.ResNet18_Weights.IMAGENET1K_V1,  # there is no V2 of it
    50: torchvision.models.ResNet50_Weights.IMAGENET1K_V2,
    101: torchvision.models.ResNet101_Weights.IMAGENET1K_V2,
}
_IMAGENET_CLASSES = 1000
_HEAD = ("fc.weight", "fc.bias")
_POOLED = {True: "with", False: "without"}
_NAMED = 20  # keys of each kind, in a message


def load_weights(model: C2D, source: str, depth: int, *, new_head: bool = False) -> str:
    """Puts starting weights into a model.

    The classifier of ImageNet is never kept where it does not fit; any other only goes when new_head says so. Non-local
    blocks that the file lacks start anew, which changes nothing of what the trunk computes.

    Args:
        model: any C2D of this depth.
        source: imagenet (IMAGENET1K_V2, downloaded once by torchvision), none, or the path of a model file.
        depth: of the ResNet, 18, 50 or 101.
        new_head: start with a new classifier, whatever the source has.

    Returns:
        One line that says what was loaded.

    Raises:
        UserError: the file or the download is not to be had, or is not of this model.
    """
    if source == "none":
        return "weights: none, the model starts at random"
    if source == "imagenet":
        file, name = ModelFile(Path("imagenet"), "torchvision", _download(depth), {}), f"{_IMAGENET[depth]}"
    else:
        file = read_model_file(Path(source), "--weights")
        name = f"{source} ({_form(file)})"
    is_imagenet = file.form == "torchvision" and file.num_classes == _IMAGENET_CLASSES != model.fc.out_features
    drop_head = new_head or is_imagenet or source == "imagenet"
    what = f"--weights {source}"
    state = {key: value for key, value in file.state.items() if not (drop_head and key in _HEAD)}
    optional = set(_HEAD if drop_head else ())
    blocks = [key for key in model.state_dict() if key.startswith("nonlocal_blocks.")]
    if blocks and not any(key in state for key in blocks):
        optional.update(blocks)
        name += f", {len(model.nonlocal_blocks)} non-local blocks new"
    if not drop_head:
        _check_head(model, file, what, optional, "start a new one with --new-head")
    fit_state(model, state, what, optional, file.key_in_file)
    if file.temporal_pool not in (None, model.temporal_pool):
        name += f", trained {'with' if file.temporal_pool else 'without'} temporal pool"
    return on_one_line(f"weights: {name}" + (", classifier new" if drop_head else ", classifier kept"))


def load_checkpoint(model: C2D, file: ModelFile, recipe: Recipe, what: str) -> None:
    """Loads a whole model, classifier included, into the recipe's model.

    Raises:
        UserError: it is of another model.
    """
    # With and without temporal pool the parameters have the same names and shapes: the stored recipe tells them apart.
    if file.form == "ours":
        if file.model is None:
            raise UserError(f"{what}: its recipe names no model that there is: {file.recipe.get('model')!r:.200}")
        for field in ("depth", "temporal_pool", "nonlocal_after", "nonlocal_affinity"):
            theirs, ours = getattr(file.model, field), getattr(recipe.model, field)
            if theirs != ours:
                raise UserError(
                    f"{what}: is of another model: its {field} is {theirs!r}, that of {recipe.name} is {ours!r}; give the "
                    f"checkpoint's own pipe file ({file.recipe.get('name')})"
                )
    elif file.temporal_pool not in (None, recipe.model.temporal_pool):
        theirs, ours = (_POOLED[pool] for pool in (bool(file.temporal_pool), recipe.model.temporal_pool))
        pipes = "k400_8x8.py or k400_16x4.py" if file.temporal_pool else "k400_8x8_nopool.py or k400_8x8_nopool_r101.py"
        raise UserError(
            f"{what}: is of another model: its configuration names the backbone {file.backbone}, {theirs} temporal pool, and "
            f"{recipe.name} is {ours}; give the pipe file that belongs to it (dali_pipes/{pipes})"
        )
    remedy = f"give --num-classes {file.num_classes}, or train a new one (c2d_fast.train with --weights and --new-head)"
    _check_head(model, file, what, set(), remedy)
    fit_state(model, file.state, what, named=file.key_in_file)


def model_for(recipe: Recipe, file: ModelFile, what: str, num_classes: int | None) -> tuple[C2D, Recipe]:
    """Builds a recipe's model with a file's weights, on the CPU, to be scored or used.

    Args:
        recipe: of the pipe file.
        file: of any form.
        what: the flag and path that named it, for messages.
        num_classes: K; None: as many as a checkpoint of ours has, otherwise the recipe's.

    Returns:
        The model, and the recipe with its number of classes and the kind of labels that the checkpoint was trained with.

    Raises:
        UserError: the file is of another model.
    """
    if num_classes is None and file.form == "ours":
        num_classes = file.num_classes
    if num_classes is not None and num_classes > MOST_CLASSES:
        raise UserError(f"{what}: its classifier has {num_classes} classes; more than {MOST_CLASSES} are not believed")
    recipe = _with_label_kind(recipe.with_num_classes(num_classes or recipe.model.num_classes), file, what)
    model = C2D(recipe.model)
    load_checkpoint(model, file, recipe, what)
    return model, recipe


def _with_label_kind(recipe: Recipe, file: ModelFile, what: str) -> Recipe:
    """Returns the recipe with the kind of labels of a checkpoint of ours: what its scores mean is decided in training."""
    if file.form != "ours":
        return recipe
    labels = stored_part(file.recipe, "labels")
    kind = labels.get("kind") if isinstance(labels, dict) else None
    if kind not in LABEL_KINDS:
        raise UserError(f"{what}: its recipe names no kind of labels that there is: {labels!r:.200}")
    # Nothing is trained, and no teacher is heard: a recipe of another kind may name one.
    return recipe if kind == recipe.labels.kind else replace(recipe, labels=replace(recipe.labels, kind=kind), distill=None)


def describe(file: ModelFile, recipe: Recipe) -> str:
    """Returns one line on what was loaded, for the user."""
    line = f"checkpoint: {file.path} ({_form(file)})"
    if recipe.labels.kind != "single":
        line += f", labels of kind {recipe.labels.kind}"
    if file.form == "ours":
        theirs = {part: stored_part(file.recipe, part) for part in ("clip", "crop")}
        ours = recipe.as_dict()
        changed = [part for part in theirs if theirs[part] not in (None, ours[part])]
        shown = {part: _without_defaults(part, theirs[part], ours[part]) for part in changed}
        return on_one_line(line + "".join(f"; note: trained with another {part}: {shown[part]}" for part in changed))
    kind = _POOLED[recipe.model.temporal_pool]
    if file.temporal_pool is not None:
        return on_one_line(f"{line}, {kind} temporal pool by its configuration")
    return on_one_line(f"{line}; such files do not say whether they are of the model with temporal pool: taken as {kind}")


def _without_defaults(part: str, theirs: Any, ours: dict[str, Any]) -> Any:
    """Returns a part of a recipe in the order of its fields, without those that are at their defaults in both."""
    if not isinstance(theirs, dict):
        return theirs
    usual, names = stored_part({part: {}}, part), [*ours, *(name for name in theirs if name not in ours)]
    is_usual = {name for name in usual if usual[name] == theirs.get(name) == ours.get(name)}
    return {name: theirs[name] for name in names if name in theirs and name not in is_usual}


def fit_state(
    model: C2D, state: dict[str, Any], what: str, optional: AbstractSet[str] = frozenset(), named: Callable[[str], str] = str
) -> None:
    """Loads a state dict that must fit exactly, but for optional keys and counters of batches, which may be absent.

    Args:
        model: gets the values.
        state: name -> value, in our names.
        what: the flag and path that it is from, for messages.
        optional: names that may be absent.
        named: what a name is called in messages: as it stands in the user's file.

    Raises:
        UserError: keys are missing, unexpected or of another shape; they are listed.
    """
    _check_fit(model, state, what, optional, named)
    model.load_state_dict(state, strict=False)


def _check_fit(model: C2D, state: dict[str, Any], what: str, optional: AbstractSet[str], named: Callable[[str], str]) -> None:
    own = model.state_dict()
    # Files of before PyTorch 0.4.1 lack the counters, and nothing is computed from them.
    missing = [named(key) for key in own if key not in {*state, *optional} and not key.endswith("num_batches_tracked")]
    unexpected = [named(key) for key in state if key not in own]
    misshaped = [
        f"{named(key)} {_kind(value)} instead of {_kind(own[key])}"
        for key, value in state.items()
        if key in own and _kind(value) != _kind(own[key])
    ]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
    listed = [f"{len(keys)} {kind} ({_some(keys)})" for kind, keys in problems.items() if keys]
    if listed:
        raise UserError(f"{what}: is of another model: keys {', '.join(listed)}; give the file that belongs to this pipe file")


def _kind(value: Any) -> str:
    """Returns the shape of a tensor, with what else keeps it from being a parameter's value."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    odd = [] if value.layout == torch.strided else [str(value.layout)]
    odd += ["on meta"] if value.is_meta else []
    odd += ["complex"] if value.is_complex() else ["quantised"] if value.is_quantized else []
    return " ".join([str(list(value.shape)), *odd])


def _some(keys: list[str]) -> str:
    return ", ".join(f"{key:.100}" for key in keys[:_NAMED]) + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")


def _check_head(model: C2D, file: ModelFile, what: str, optional: AbstractSet[str], remedy: str) -> None:
    if file.num_classes is not None and file.num_classes != model.fc.out_features:
        # If it is another model altogether, that comes first.
        trunk = {key: value for key, value in file.state.items() if key not in _HEAD}
        _check_fit(model, trunk, what, {*optional, *_HEAD}, file.key_in_file)
        raise UserError(f"{what}: its classifier has {file.num_classes} classes, the model {model.fc.out_features}; {remedy}")


def _form(file: ModelFile) -> str:
    if file.form == "ours":
        return f"trained with {file.recipe.get('name', 'c2d_fast')}" + (", averaged weights" if file.is_averaged else "")
    return {"published": "in the published names", "torchvision": "in torchvision's names"}[file.form]


def _download(depth: int) -> dict[str, Tensor]:
    weights = _IMAGENET[depth]
    if torch.hub.get_dir().startswith("~"):  # would become a folder of that name
        raise UserError(
            "--weights imagenet: there is no home folder to keep them in; set TORCH_HOME to a folder, give them with "
            "--weights FILE, or start at random with --weights none"
        )
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (URLError, OSError, RuntimeError) as error:
        file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
        raise UserError(
            f"--weights imagenet: {weights.url} could not be downloaded ({error}); fetch it on a machine with network and "
            f"give it with --weights FILE (or put it at {file}), or start at random with --weights none"
        ) from error
    return state
