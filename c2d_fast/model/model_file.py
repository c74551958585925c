"""Files that hold a model's weights, in any of the forms that users have: which form it is, and the weights in our names."""

import importlib.util
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.formats.schemas import ShapeError, convert, decode_object, encode
from c2d_fast.model.c2d import MEAN, STD
from c2d_fast.model.checkpoint import FORMAT, check_parts, read_file, verify_checksums
from c2d_fast.model.inert_pickle import UnreadableError, read_state_dict
from c2d_fast.model.published_config import backbone_of
from c2d_fast.recipe import Model

CARD_FORMAT = "c2d_fast.card/1"
_CARD_KEY = "c2d_fast.card"
_ORDINARY = 0o666  # of a new file, as far as the user's mask allows
_NOT_ON_CARD = ("format", "model", "optimizer", "scaler", "statistics", "tally", "averaged")
_PROGRAMS = {".onnx": "an ONNX file", ".pt2": "a program of torch.export"}
_FORMS = "a checkpoint of ours (.pt, .safetensors), a published one, or a torchvision ResNet's state dict"


@dataclass(frozen=True)
class ModelFile:
    """The weights of a model file."""

    path: Path
    form: str
    """ours, published (the model zoo's names) or torchvision (plain names, nothing else said)."""
    state: dict[str, Any]
    """name -> tensor, in torchvision's names, which are ours; unknown names and values as they stand in the file."""
    card: dict[str, Any]
    """What the file says of its model: recipe, classes, progress, lists, versions (ours only, otherwise empty)."""
    backbone: str = ""
    """Of a published file: the type of backbone that its training configuration names, where it holds one."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Our name -> the name in the file, where that is another."""
    prefix: str = ""
    """Before all names of the file, because of what it was saved from."""
    is_averaged: bool = False
    """Whether these are a run's averaged weights (Training.ema)."""

    def key_in_file(self, key: str) -> str:
        """Returns what a parameter of ours is called in the file, or would be called."""
        return self.names.get(key) or self.prefix + (published_name(key) if self.form == "published" else key)

    @property
    def temporal_pool(self) -> bool | None:
        """Whether the file is of a model with temporal pool; None where it does not say."""
        if self.model:
            return self.model.temporal_pool
        return {"C2D": True, "ResNet": False}.get(self.backbone)

    @property
    def model(self) -> Model | None:
        """Returns the model that the file's recipe names; None where it names none that there is."""
        parts = self.recipe.get("model")
        if not isinstance(parts, dict) or not parts.keys() <= {field.name for field in fields(Model)}:
            return None
        with suppress(ShapeError):
            return convert(parts, Model)
        return None

    @property
    def recipe(self) -> dict[str, Any]:
        """Returns the recipe that the file was trained with, as plain values; empty where it names none."""
        recipe = self.card.get("recipe")
        return recipe if isinstance(recipe, dict) else {}

    @property
    def num_classes(self) -> int | None:
        """Rows of the classifier, where there is one."""
        bias = self.state.get("fc.bias")
        return len(bias) if isinstance(bias, Tensor) and bias.dim() == 1 else None

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Returns the classes' names by label, where the file has them."""
        names = self.card.get("classes")
        return tuple(map(str, names)) if isinstance(names, list) and len(names) == self.num_classes else None


def read_model_file(path: Path, what: str) -> ModelFile:
    """Reads a model file onto the CPU; nothing in it can run.

    Args:
        path: ours (.pt or .safetensors), a published .pth, or a torchvision ResNet's state dict; told by its content.
        what: the flag that named it, for messages.

    Raises:
        UserError: there is no such file, it is damaged, or it holds no state dict.
    """
    program = _PROGRAMS.get(path.suffix.lower())
    if program and os.path.isfile(path):
        raise UserError(
            f"{what} {path}: is {program}, which cannot be read back; what it is stands in {path.name}.card.json beside it; "
            "give the checkpoint that it is from"
        )
    if os.path.isfile(path) and _is_safetensors(path):
        return _read_safetensors(path, what)
    content = _read_torch_file(path, what)
    if str(content.get("format")).startswith(FORMAT.partition("/")[0] + "/"):  # weights are the same in all versions
        check_parts(content, f"{what} {path}")
        verify_checksums(path, what)
        return of_checkpoint(content, path)
    for key in ("state_dict", "model"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
    file = _by_names(path, what, dict(content))
    return replace(file, backbone=backbone_of(path)) if file.form == "published" else file


def of_checkpoint(content: dict[str, Any], path: Path, *, averaged: bool = True) -> ModelFile:
    """Returns the model part of what a checkpoint of ours holds.

    Args:
        content: of the checkpoint.
        path: where it is from.
        averaged: take the averaged weights, where the run had them: these are what was validated.
    """
    card = {key: content[key] for key in content if key not in _NOT_ON_CARD}
    found = content.get("averaged") if averaged else None
    state = found["model"] if isinstance(found, dict) and isinstance(found.get("model"), dict) else content["model"]
    return ModelFile(path, "ours", state, card, is_averaged=state is not content["model"])


def write_safetensors(state: dict[str, Tensor], card: dict[str, Any], path: Path) -> None:
    """Writes weights with a card of plain values onto path: whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    _require_safetensors(f"--out {path}")
    import safetensors.torch
    from safetensors import SafetensorError

    tensors = {name: value.contiguous() for name, value in state.items()}  # channels-last is no layout of the format's
    try:
        metadata = {"format": "pt", _CARD_KEY: encode({"format": CARD_FORMAT, **card})}
        with atomic_write(path) as partial:
            safetensors.torch.save_file(tensors, partial, metadata)
            partial.chmod(_ORDINARY & ~_umask())  # the library's are readable by their owner only
    except (OSError, SafetensorError) as error:
        raise UserError(f"--out {path}: cannot be written ({error}); give another file") from error
    except (TypeError, ValueError) as error:  # something else than plain values on the card
        raise UserError(f"--out {path}: the checkpoint's recipe, lists or scores are no plain values ({error})") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def our_name(name: str) -> str:
    """Returns a parameter's name in torchvision's ResNet, of its name in the published checkpoints."""
    head = re.fullmatch(r"cls_head\.fc_cls\.(weight|bias)", name)
    if head:
        return f"fc.{head[1]}"
    name = name.removeprefix("backbone.")
    name = re.sub(r"\bdownsample\.conv\.", "downsample.0.", name)
    name = re.sub(r"\bdownsample\.bn\.", "downsample.1.", name)
    name = re.sub(r"\b(conv\d)\.conv\.", r"\1.", name)
    return re.sub(r"\bconv(\d)\.bn\.", r"bn\1.", name)


def _by_names(path: Path, what: str, state: dict[str, Any]) -> ModelFile:
    if not state or not all(isinstance(key, str) for key in state) or not any(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{what} {path}: holds no state dict; give {_FORMS}")
    # Saved from a model that several GPUs trained.
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    bare = {name: name.removeprefix(prefix) for name in state}
    if not any(name.startswith(("backbone.", "cls_head.")) for name in bare.values()):
        return ModelFile(path, "torchvision", {bare[name]: state[name] for name in state}, {}, prefix=prefix)
    ours, names = dict[str, Any](), dict[str, str]()
    for name, value in state.items():
        if not _is_our_normalisation(bare[name], value):
            key = our_name(bare[name])
            key = key if key not in ours else name  # two of the file's are one of ours: the second is left over
            ours[key], names[key] = value, name
    return ModelFile(path, "published", ours, {}, names=names, prefix=prefix)


def published_name(name: str) -> str:
    """Returns a parameter's name in the published checkpoints, of our name."""
    if name.startswith("fc."):
        return f"cls_head.fc_cls.{name.removeprefix('fc.')}"
    name = name.replace("downsample.0.", "downsample.conv.").replace("downsample.1.", "downsample.bn.")
    name = re.sub(r"(^|\.)(conv\d)\.", r"\1\2.conv.", name)
    return "backbone." + re.sub(r"(^|\.)bn(\d)\.", r"\1conv\2.bn.", name)


def _is_our_normalisation(name: str, value: Any) -> bool:
    """Says whether this is the published framework's mean or deviation of the pixels, the one that our models have built in."""
    ours = {"data_preprocessor.mean": MEAN, "data_preprocessor.std": STD}.get(name)
    if ours is None or not isinstance(value, Tensor) or value.numel() != len(ours):
        return False
    return torch.allclose(value.flatten().float(), torch.tensor(ours))


def _read_torch_file(path: Path, what: str) -> dict[str, Any]:
    try:
        return read_file(path, what)
    except UserError as refused:
        if not os.path.isfile(path):
            raise
        try:
            return read_state_dict(path)
        except (UnreadableError, OSError):
            raise refused from None


def _is_safetensors(path: Path) -> bool:
    if path.suffix == ".safetensors":
        return True
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"  # the length of the header, eight bytes, then the header, which is JSON
    except OSError:
        return False


def _require_safetensors(what: str) -> None:
    """Raises a UserError where the package is missing: everything else works without it."""
    if importlib.util.find_spec("safetensors") is None:
        raise UserError(f"{what}: needs the package safetensors, which is not installed; pip install safetensors")


def _read_safetensors(path: Path, what: str) -> ModelFile:
    _require_safetensors(f"{what} {path}")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        card = decode_object(metadata.get(_CARD_KEY, "{}"))
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{what} {path}: is damaged, or no safetensors file ({error})") from error
    if card.get("format") == CARD_FORMAT:
        if not isinstance(card.get("recipe"), dict):
            raise UserError(f"{what} {path}: its card names no recipe; export it again")
        return ModelFile(path, "ours", state, {key: value for key, value in card.items() if key != "format"})
    return _by_names(path, what, state)
