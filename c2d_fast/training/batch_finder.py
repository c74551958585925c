"""`--batch-size auto`: the smallest batch that trains about as many clips a second as any that fits."""

import time
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from c2d_fast.model.c2d import C2D
from c2d_fast.model.precision import Precision
from c2d_fast.recipe import Recipe
from c2d_fast.training.batch_norm import fewest_values
from c2d_fast.training.schedule import make_optimizer

_GOOD_ENOUGH = 0.97  # of the best rate: a larger batch costs memory and changes the training for nothing
_MEMORY = 0.9  # of the GPU's: the loader's batches and the compiler's buffers come on top
_LONGEST_STEP_S = 10.0
_STEPS = 3


@dataclass(frozen=True)
class Trial:
    """One batch size and what it brings."""

    batch_size: int
    clips_per_s: float
    memory: float
    """Share of the GPU's memory at its peak; 0 on a CPU."""


def find_batch_size(recipe: Recipe, device: torch.device, precision: Precision, most: int) -> tuple[int, str]:
    """Trains a few steps on noise with batches of 1, 2, 4 ... videos' clips, not compiled, and chooses one.

    Args:
        recipe: whose model, clip and crop are used; of several shapes of clips (training.grid) the largest.
        device: CUDA or CPU. On a CPU no batch above the recipe's is tried.
        precision: of the forward pass.
        most: videos that a batch can have at the most, because there are no more.

    Returns:
        The batch size, and one line for the user that says what was tried.
    """
    clips = recipe.training.clips_per_video  # a batch has whole videos
    most *= clips
    most = max(most if device.type == "cuda" else min(most, recipe.training.clips_per_gpu), clips)
    tried: list[Trial] = []
    size = clips if fewest_values(recipe, clips) > 1 and not recipe.augment.mixes else 2 * clips
    most = max(most, size) if recipe.augment.mixes else most
    while size <= most:
        one = _try(recipe, device, precision, size)
        if one is None:
            break
        tried.append(one)
        if one.memory > _MEMORY / 2 or size / one.clips_per_s > _LONGEST_STEP_S:
            break  # twice as many do not fit, or are not worth waiting for
        size *= 2
    if not tried:
        least = size if recipe.augment.mixes else clips
        return least, f"batch size auto: not even {'one clip fits' if least == 1 else f'{least} clips fit'}; taken: {least}"
    best = max(one.clips_per_s for one in tried)
    chosen = next(one for one in tried if one.clips_per_s >= _GOOD_ENOUGH * best)
    each = ", ".join(f"{one.batch_size}: {one.clips_per_s:.1f}" for one in tried)
    return chosen.batch_size, f"batch size auto: clips/s by batch size {each}; taken: {chosen.batch_size}"


def _try(recipe: Recipe, device: torch.device, precision: Precision, size: int) -> Trial | None:
    """Measures a batch size; None where it does not fit."""
    try:
        return _measure(recipe, device, precision, size)
    except (torch.OutOfMemoryError, MemoryError):
        return None
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _measure(recipe: Recipe, device: torch.device, precision: Precision, size: int) -> Trial:
    with torch.random.fork_rng():  # what the run draws later is the same without this
        model = C2D(recipe.model).to(device).train()
        shapes = [(recipe.clip.num_frames, recipe.crop.size), *((frames, side) for _, frames, side in recipe.training.grid)]
        num_frames, side = max(shapes, key=lambda shape: shape[0] * shape[1] ** 2)
        shape = (size, num_frames, side, side, 3)
        clip = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
        label = torch.zeros(size, dtype=torch.int64, device=device)
        optimizer, scaler = make_optimizer(model, recipe.training, 0.0), precision.scaler(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        for step in range(_STEPS):
            if step == 1:  # the first chooses kernels and makes buffers
                _wait(device)
                started_s = time.perf_counter()
            with precision.autocast(device):
                logits = model(clip)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(F.cross_entropy(logits, label)).backward()
            scaler.step(optimizer)
            scaler.update()
        _wait(device)
        seconds = time.perf_counter() - started_s
    memory = 0.0
    if device.type == "cuda":
        memory = torch.cuda.max_memory_reserved(device) / torch.cuda.get_device_properties(device).total_memory
    return Trial(size, size * (_STEPS - 1) / seconds, memory)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
