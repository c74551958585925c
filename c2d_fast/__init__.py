"""Trains C2D video classifiers from video files, fast. See README.md for the commands, docs/architecture.md for the map."""

from __future__ import annotations

from c2d_fast.processes import early_signals

if early_signals.is_command():  # before anything else is imported, which takes seconds
    early_signals.exit_on_signals()

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from c2d_fast.loading.batch import Batch
    from c2d_fast.loading.clip_loader import ClipLoader
    from c2d_fast.loading.frame_sampling import Dense, Frames, Multi, Uniform
    from c2d_fast.model.c2d import C2D
    from c2d_fast.recipe import Clip, Crop

__all__ = ["Batch", "Clip", "ClipLoader", "Crop", "Dense", "Frames", "Multi", "Uniform", "load_model"]
__version__ = "0.1.0"

_MODULES = {"Batch": "batch", "ClipLoader": "clip_loader"} | dict.fromkeys(
    ("Dense", "Frames", "Multi", "Uniform"), "frame_sampling"
)


def __getattr__(name: str) -> object:
    # Not at the top: loader workers and --help import this package, and need no torch and no DALI.
    if name in ("Clip", "Crop"):
        return getattr(importlib.import_module("c2d_fast.recipe"), name)
    if name in _MODULES:
        return getattr(importlib.import_module(f"c2d_fast.loading.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_model(
    pipe: str | Path,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    num_classes: int | None = None,
) -> C2D:
    """Returns a recipe's model, ready to classify clips.

    The module takes clips, RGB on 0..255, uint8 [N, T, H, W, C], on its device, and gives logits, float32 [N, K]. It
    normalises by itself; T, H and W are the recipe's (others compute, too, but are not what was trained). It is in eval mode,
    in float32 and uncompiled: torch.autocast, torch.compile and torch.inference_mode are the caller's to add.
    To score a video, average over its views: the softmax of the logits with temporal pool, the logits without.

    Args:
        pipe: the path of a pipe file, which is code, and runs; or the name of a shipped one, e.g. "k400_8x8".
        checkpoint: ours (.pt, .safetensors), a published .pth, or a torchvision ResNet's state dict with a classifier of K
            classes; nothing in it can run. None: a new model, with random weights.
        device: where the model goes; None: the first CUDA GPU, or the CPU where there is none.
        num_classes: K; None: as many as a checkpoint of ours has, otherwise the recipe's.

    Raises:
        c2d_fast.errors.UserError: (a ValueError) a file is missing or damaged, or the checkpoint is of another model: its
            missing, unexpected and mis-shaped keys are named.
    """
    import torch  # not at the top, as above

    from c2d_fast.model.c2d import C2D
    from c2d_fast.model.model_file import read_model_file
    from c2d_fast.model.weights import model_for
    from c2d_fast.recipe import load_pipe

    if num_classes is not None and num_classes < 1:
        raise ValueError(f"num_classes ({num_classes}) must be 1 at least")
    recipe = load_pipe(pipe).recipe
    if checkpoint is None:
        model = C2D(recipe.with_num_classes(num_classes or recipe.model.num_classes).model)
    else:
        file = read_model_file(Path(checkpoint), "checkpoint")
        model, _ = model_for(recipe, file, f"checkpoint {checkpoint}", num_classes)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.eval().to(device)
