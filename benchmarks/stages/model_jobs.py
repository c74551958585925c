"""What a child of the stage models does: one model at a time is compiled, and timed when the stage says so. Needs no DALI."""

import gc
import math
from typing import Any

import torch
from recipes import load_recipe
from rounds import timed
from trained import Trained, cached_batch, model_rounds

from c2d_fast.training.blocking_sync import use_blocking_sync
from stages.ways import Way

WARMUP, ROUNDS = 5, 3
MOST_STEPS = 60


_held: list[Trained] = []


def prepare(way: Way) -> dict[str, Any]:
    """Takes one training step, the first of which compiles, and keeps the model without the memory of the step."""
    _held.clear()
    tidy()
    device = run_device()
    kind = {"precision": way.precision, "compiled": way.compiled, "mode": way.mode, "channels_first": way.channels_first}
    trained = Trained(load_recipe(way.pipe), device, **kind)
    try:
        timed(lambda: trained.step(cached_batch(trained.recipe, way.batch_size, device)), device)
    finally:
        trained.train_step.optimizer.zero_grad(set_to_none=True)
        tidy()
    _held.append(trained)
    return {"precision": trained.precision.name}


def measure(batch_size: int, round_s: float) -> dict[str, Any]:
    """Times training steps of the model that was prepared last: rounds of about so many seconds."""
    (trained,) = _held
    try:
        return timed_rounds(trained, batch_size, round_s)
    finally:
        tidy()


def timed_rounds(trained: Trained, batch_size: int, round_s: float) -> dict[str, Any]:
    """Measures training steps on a cached batch; the steps of a round are as many as take about so many seconds."""
    batch = cached_batch(trained.recipe, batch_size, trained.device)
    for _ in range(WARMUP):  # cuDNN may choose its kernels once more, and a GPU that has idled gets up to its clock
        trained.step(batch)
    step_s = timed(lambda: [trained.step(batch) for _ in range(2)], trained.device) / 2
    steps = min(max(math.ceil(round_s / step_s), 2), MOST_STEPS)
    return {**model_rounds(trained, batch_size, 1, steps, ROUNDS).facts(), "batch_size": batch_size, "steps": steps}


def run_device() -> torch.device:
    """Returns the device as a run has it: see c2d_fast.commands.dataset.choose_device, which imports DALI."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    use_blocking_sync(0)
    return torch.device("cuda", 0)


def tidy() -> None:
    """Gives memory back that others may need meanwhile."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
