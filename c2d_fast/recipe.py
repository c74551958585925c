"""What changes the numbers of a training: the frozen recipe that every pipe file declares, and how it is loaded."""

import dataclasses
import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from c2d_fast import overrides as given_fields
from c2d_fast.errors import UserError
from c2d_fast.recipe_model import (
    _BLOCKS,  # noqa: F401 (a pipe file of one's own may add a depth)
    CROP_KINDS,
    CROP_VIEWS,
    MOST_CLASSES,
    Clip,
    Crop,
    Model,
)
from c2d_fast.recipe_training import Augment, Distill, Labels, Training

__all__ = [
    "CROP_KINDS",
    "CROP_VIEWS",
    "MOST_CLASSES",
    "Augment",
    "Clip",
    "Crop",
    "Distill",
    "Labels",
    "Model",
    "PipeFile",
    "Published",
    "Recipe",
    "Training",
    "find_pipe",
    "load_pipe",
    "shipped_pipes",
    "stored_part",
]


def _defaults(part: type) -> dict[str, Any]:
    """Returns the fields that a part of a recipe need not have, with their defaults in plain values."""
    fields = dataclasses.fields(part)
    return {item.name: _plain(item.default) for item in fields if item.default is not dataclasses.MISSING}


@dataclass(frozen=True, kw_only=True)
class Published:
    """What the model zoo reports for this recipe: per cent on Kinetics-400 with 10 clips x 3 crops."""

    top1: float
    top5: float
    gmac_per_clip: float
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides what is learnt. Machine-dependent choices are flags of the commands instead."""

    name: str
    model: Model
    clip: Clip
    crop: Crop
    training: Training
    augment: Augment = field(default_factory=Augment)
    labels: Labels = field(default_factory=Labels)
    distill: Distill | None = None
    """How a teacher is learnt from, which train's --teacher gives."""
    published: Published | None = None
    expected_top1: float | None = None
    """Where the model zoo has nothing: validation's top-1, per cent, as measured by this project on the recipe's own data."""
    generated_data: bool = False
    """True: without data flags, the commands make and use the demo data set."""

    def __post_init__(self) -> None:
        # The stem of one that halves the frames pools three pixels of every second one, without padding.
        frames, pixels = (2, 5) if self.model.temporal_pool else (1, 1)
        if self.clip.num_frames < frames or self.clip.interval < 1:
            raise ValueError(f"clip ({self.clip}) must have {frames} frames at least, and an interval of 1 at least")
        if self.crop.size < pixels:
            raise ValueError(f"crop size ({self.crop.size}) must be {pixels} pixels at least")
        for stage in self.training.grid:
            if stage[1] < frames or stage[2] < pixels:
                raise ValueError(f"training grid ({stage}) must have {frames} frames and {pixels} pixels at least")
        if self.distill and self.labels.kind == "several":
            raise ValueError("distill must be None with labels of kind several: a teacher's scores are shares of classes")

    @property
    def reference(self) -> dict[str, float]:
        """Returns what a run is to be compared with: top1 and top5 in per cent, as far as they are known."""
        if self.published:
            return {"top1": self.published.top1, "top5": self.published.top5}
        return {} if self.expected_top1 is None else {"top1": self.expected_top1}

    def as_dict(self) -> dict[str, Any]:
        """Returns plain dicts, lists, numbers and strings, as stored in checkpoints and config.json."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain

    @property
    def sha256(self) -> str:
        """Returns a hash of all that the recipe decides: of as_dict() as JSON, keys sorted, without spaces."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def with_num_classes(self, num_classes: int) -> "Recipe":
        """Returns the recipe for a data set with that many classes; what is known of another is no reference for it."""
        if num_classes == self.model.num_classes:
            return self
        model = dataclasses.replace(self.model, num_classes=num_classes)
        return dataclasses.replace(self, model=model, published=None, expected_top1=None)


@dataclass(frozen=True)
class PipeFile:
    """A loaded pipe file: its recipe and its two graphs, functions that make a DALI pipeline (see dali_pipes/README.md)."""

    path: Path
    recipe: Recipe
    train_pipe: Callable[..., Any]
    eval_pipe: Callable[..., Any]
    overrides: tuple[str, ...] = ()
    """What --set has changed in the file's recipe."""

    @property
    def recorded_path(self) -> str:
        """Returns the path that runs record: of a shipped recipe the same on every machine."""
        return f"dali_pipes/{self.path.name}" if self.path in shipped_pipes().values() else str(self.path)


def shipped_pipes() -> dict[str, Path]:
    """Returns the pipe files that come with this package, by the names that --pipe takes in place of a path."""
    spec = importlib.util.find_spec("dali_pipes")
    folders = spec.submodule_search_locations if spec else None
    return {path.stem: path for folder in folders or () for path in sorted(Path(folder).glob("[!_]*.py"))}


def find_pipe(given: str | Path) -> Path:
    """Returns the path of a pipe file given by its path or as a shipped recipe's name. A file of that name comes first."""
    path = Path(given)
    return path if os.path.isfile(path) else shipped_pipes().get(str(given), path)


def load_pipe(given: str | Path, overrides: Sequence[str] = ()) -> PipeFile:
    """Runs a pipe file, given by its path or as a shipped recipe's name, and returns what it declares.

    A pipe file is code and is trusted like code.

    Args:
        given: path or name.
        overrides: of fields of its recipe, PART.FIELD=VALUE each, as --set takes them: training.lr=0.02.

    Raises:
        UserError: there is no such file, it does not import, or it lacks RECIPE, train_pipe or eval_pipe; an override is none.
    """
    path = find_pipe(given)
    if not os.path.isfile(path):
        problem = "is a folder" if os.path.isdir(path) else "no such file"
        shipped = ", ".join(shipped_pipes())
        raise UserError(f"--pipe {given}: {problem}; give the path of a pipe file, or the name of a shipped one: {shipped}")
    spec = importlib.util.spec_from_file_location(f"c2d_pipe_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"--pipe {path}: is not a Python file; a pipe file ends in .py (see dali_pipes/README.md)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's file raises is the user's to mend
        raise UserError(f"--pipe {path}: does not import: {type(error).__name__}: {error}") from error
    recipe = getattr(module, "RECIPE", None)
    if not isinstance(recipe, Recipe):
        raise UserError(f"--pipe {path}: declares no RECIPE; a pipe file needs RECIPE = Recipe(...) (see dali_pipes/README.md)")
    for name in ("train_pipe", "eval_pipe"):
        if not callable(getattr(module, name, None)):
            raise UserError(f"--pipe {path}: declares no {name}; a pipe file needs both graphs (see dali_pipes/README.md)")
    recipe = given_fields.apply(recipe, overrides)
    return PipeFile(path, recipe, module.train_pipe, module.eval_pipe, tuple(overrides))


def stored_part(recipe: dict[str, Any], part: str) -> Any:
    """Returns a part of a recipe in plain values, from a checkpoint of any age: a field that it lacks as it was meant then."""
    fields = recipe.get(part, {} if part in ("augment", "labels") else None)
    return _MEANT_BEFORE.get(part, {}) | fields if isinstance(fields, dict) else fields


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


_PARTS = {"model": Model, "clip": Clip, "crop": Crop, "training": Training, "augment": Augment, "labels": Labels}
_MEANT_BEFORE = {name: _defaults(part) for name, part in _PARTS.items()}
_MEANT_BEFORE["crop"]["scale_before_crop"] = False
"""What recipes meant before they had these fields: mostly what the defaults are."""
