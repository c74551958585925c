"""What changes the numbers of a training: the frozen recipe that every pipe file declares, and how it is loaded."""

import dataclasses
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d_fast.errors import UserError

_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Depth of the ResNet -> blocks of layer1..layer4."""
CROP_KINDS = ("multi_scale", "random_resized", "short_side_jitter", "centre")
CROP_VIEWS = ("published", "centre", "three")
_MEANT_BEFORE = {
    "crop": {
        "scale_before_crop": False,
        "kind": "multi_scale",
        "area": [0.08, 1.0],
        "ratio": [3 / 4, 4 / 3],
        "short_sides": [256, 320],
        "flip": 0.5,
        "views": "published",
    }
}
"""What recipes meant before they had these fields."""
MOST_CLASSES = 1_000_000
"""More are not believed of any file or flag."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """The network: a ResNet trunk over single frames, and how the frames are brought together."""

    depth: int
    """18, 50 or 101: the torchvision ResNet whose trunk is used."""
    temporal_pool: bool
    """True: halve the frames after the first stage, max pool of the stem without padding, average probabilities over
    views. False: the plain trunk, average features over views."""
    dropout: float
    num_classes: int
    nonlocal_after: tuple[tuple[int, int], ...] = ()
    """(stage, block) that a non-local block follows: stages are layer1..layer4 of the ResNet, blocks count from 0."""
    nonlocal_affinity: str = "embedded_gaussian"
    """embedded_gaussian (softmax) or dot_product."""

    def __post_init__(self) -> None:
        if self.nonlocal_affinity not in ("embedded_gaussian", "dot_product"):
            raise ValueError(f"nonlocal_affinity ({self.nonlocal_affinity}) must be embedded_gaussian or dot_product")
        if self.depth not in _BLOCKS:
            raise ValueError(f"depth ({self.depth}) must be 18, 50 or 101")
        if not 1 <= self.num_classes <= MOST_CLASSES:
            raise ValueError(f"num_classes ({self.num_classes}) must be 1 to {MOST_CLASSES}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout ({self.dropout}) must be 0 or more, and below 1")
        blocks = _BLOCKS[self.depth]
        for stage, block in self.nonlocal_after:
            if not 1 <= stage <= len(blocks) or not 0 <= block < blocks[stage - 1]:
                raise ValueError(f"nonlocal_after ({stage}, {block}): ResNet-{self.depth} has no such block")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Which frames make a clip: num_frames of them, from a first one on that is drawn."""

    num_frames: int
    interval: int
    """Every interval-th decoded frame is taken."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Sizes in pixels: what is cut out of a frame, once its short side has been scaled."""

    size: int = 224
    """Side of the square that the model is fed."""
    train_short_side: int = 256
    """Short side before the crop in training and in validation."""
    test_short_side: int = 224
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    """Training crops are these parts of the short side."""
    scale_before_crop: bool = True
    """How training crops are made. True: the frame is scaled to train_short_side, and the box cut out of that is resized to
    size, as published. False: the box of the frame as it is is resized once: cheaper, and sharper than the published models
    saw, but for frames that have train_short_side anyway (docs/benchmarks.md has both)."""
    kind: str = "multi_scale"
    """The box of training: "multi_scale", as published; "random_resized", of an area and a ratio that are drawn (Inception);
    "short_side_jitter", a square of size anywhere in a frame whose short side is drawn (PySlowFast); "centre"."""
    area: tuple[float, float] = (0.08, 1.0)
    """Of random_resized: least and largest part of the frame's area."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Likewise: of width to height."""
    short_sides: tuple[int, int] = (256, 320)
    """Of short_side_jitter: least and largest short side."""
    flip: float = 0.5
    """How likely a training clip is mirrored."""
    views: str = "published"
    """What evaluation cuts out: "centre", "three" along the long side, or as published: three of videos that are seen in
    several clips, otherwise the centre."""

    def __post_init__(self) -> None:
        if self.kind not in CROP_KINDS:
            raise ValueError(f"crop kind ({self.kind!r}) must be one of {', '.join(CROP_KINDS)}")
        if self.views not in CROP_VIEWS:
            raise ValueError(f"crop views ({self.views!r}) must be one of {', '.join(CROP_VIEWS)}")
        if not 0 < self.area[0] <= self.area[1] <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"crop area ({self.area}) and ratio ({self.ratio}) must be two rising figures, areas 1 at most")
        if self.short_sides[0] > self.short_sides[1]:
            raise ValueError(f"crop short_sides ({self.short_sides}) must be two rising numbers of pixels")
        if self.kind == "short_side_jitter" and (self.short_sides[0] < self.size or not self.scale_before_crop):
            raise ValueError(f"crop short_sides ({self.short_sides}) must be {self.size} at least, and scale_before_crop True")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"crop flip ({self.flip}) must be 0 to 1")


@dataclass(frozen=True, kw_only=True)
class Training:
    """SGD with momentum, and a rate that falls in steps."""

    lr: float
    """Learning rate for a global batch of lr_batch clips; other batches scale it linearly."""
    lr_batch: int
    clips_per_gpu: int
    """Default batch on each GPU."""
    epochs: int
    milestones: tuple[int, ...]
    """Epochs after which the rate is multiplied by gamma."""
    gamma: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip_grad_norm: float = 40.0
    weights: str = "imagenet"
    """Where the trunk starts: "imagenet" (torchvision's IMAGENET1K_V2) or "none"."""


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
    published: Published | None = None
    expected_top1: float | None = None
    """Where the model zoo has nothing: validation's top-1, per cent, as measured by this project on the recipe's own data."""
    generated_data: bool = False
    """True: without data flags, the commands make and use the demo data set."""

    def __post_init__(self) -> None:
        least = 2 if self.model.temporal_pool else 1
        if self.clip.num_frames < least or self.clip.interval < 1:
            raise ValueError(f"clip ({self.clip}) must have {least} frames at least, and an interval of 1 at least")
        least = 5 if self.model.temporal_pool else 1  # whose stem pools three pixels of every second one, without padding
        if self.crop.size < least:
            raise ValueError(f"crop size ({self.crop.size}) must be {least} pixels at least")

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


def load_pipe(given: str | Path) -> PipeFile:
    """Runs a pipe file, given by its path or as a shipped recipe's name, and returns what it declares.

    A pipe file is code and is trusted like code.

    Raises:
        UserError: there is no such file, it does not import, or it lacks RECIPE, train_pipe or eval_pipe.
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
    return PipeFile(path, recipe, module.train_pipe, module.eval_pipe)


def stored_part(recipe: dict[str, Any], part: str) -> Any:
    """Returns a part of a recipe in plain values, from a checkpoint of any age: a field that it lacks as it was meant then."""
    fields = recipe.get(part)
    return _MEANT_BEFORE.get(part, {}) | fields if isinstance(fields, dict) else fields


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
