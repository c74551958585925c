"""Every recipe's loader, its model, and both together; and the first one's model in other ways of running it."""

import argparse
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import torch
from measure import Setting, loader_round, open_loader
from recipes import pipe_row, verdict
from rounds import Clock, Rounds, timed
from stored import Form
from sweep import LOADER_S
from trained import Trained, both_rounds, cached_batch, model_rounds

from c2d_fast.recipe import PipeFile

COMPILE_S = 130.0
"""What compiling a model may take on a GPU machine with an empty cache; the budget is to hold."""
EAGER_S = 20.0


class ModelTime:
    """How long a model takes until it is measured: as long as the longest so far, and before the first what it may."""

    def __init__(self, device: torch.device):
        self._is_cuda, self._longest_s = device.type == "cuda", {True: COMPILE_S, False: EAGER_S}
        self._seen: set[bool] = set()

    def needs_s(self, compiled: bool | None) -> float:
        """Returns seconds; of a CPU nothing is expected."""
        return self._longest_s[compiled is not False] if self._is_cuda else 0.0

    def took(self, compiled: bool | None, seconds: float) -> None:
        """Hears how long one has taken."""
        kind = compiled is not False
        self._longest_s[kind] = max(self._longest_s[kind], seconds) if kind in self._seen else seconds
        self._seen.add(kind)


def measure_pipes(
    args: argparse.Namespace,
    pipes: list[PipeFile],
    form: Form,
    setting: Setting,
    result: dict[str, Any],
    clock: Clock,
) -> Iterator[dict[str, Any]]:
    """Measures every recipe into result["pipes"]; yields a recipe's row whenever something is new in it."""
    loaders: dict[Any, dict[str, Any]] = {}  # recipes that draw the same clips share a loader's figures
    for row in result.get("loaders", ()):
        if row["name"] == "c2d-fast" and row["form"] == form.name:
            figures = {key: value for key, value in row.items() if key not in ("name", "form", "ours", "index")}
            loaders[pipes[0].recipe.clip, pipes[0].recipe.crop] = figures
    model_time = ModelTime(setting.device)
    for pipe in pipes:
        row = pipe_row(pipe.path, pipe.recipe)
        result["pipes"].append(row)
        clips = (pipe.recipe.clip, pipe.recipe.crop)
        if args.mode != "model" and clock.allows(f"loader of {row['pipe']}", LOADER_S[setting.device.type]):
            if clips not in loaders:
                rates = [loader_round(pipe, form, setting, args.warmup, args.steps, n) for n in range(args.rounds)]
                loaders[clips] = Rounds(rates).facts()
            row["loader"] = loaders[clips]
            yield row
        if args.mode != "loader" and clock.allows(f"model of {row['pipe']}", model_time.needs_s(args.compile)):
            started_s = time.monotonic()
            for _ in measure_model(args, pipe, form, setting, row, clock):
                yield row
            model_time.took(args.compile, time.monotonic() - started_s)
            torch.compiler.reset()
        row |= verdict(row, result.get("stages_ms_per_clip", {}).get(form.name, {}))
        yield row


def measure_model(
    args: argparse.Namespace, pipe: PipeFile, form: Form, setting: Setting, row: dict[str, Any], clock: Clock
) -> Iterator[None]:
    """Measures a recipe's model, and it with its loader, into the recipe's row; yields after each."""
    size, warmup, steps, rounds = args.model_batch_size, args.model_warmup, args.model_steps, args.model_rounds
    trained = Trained(pipe.recipe, setting.device, precision=args.precision, compiled=args.compile)
    row["precision"] = trained.precision.name
    row["model"] = model_rounds(trained, size, warmup, steps, rounds).facts()
    yield
    if args.mode in ("both", "all") and clock.allows(f"both of {row['pipe']}", LOADER_S[setting.device.type]):
        together = dataclasses.replace(setting, batch_size=size)
        batches = open_loader(pipe, form, together, warmup + steps * rounds + 4)
        row["both"] = both_rounds(trained, batches, size, min(warmup, 3), steps, rounds).facts()
    if setting.device.type == "cuda":
        row["transfer_ms_per_clip"] = transfer_cost(pipe, size, setting.device)
    yield


def transfer_cost(pipe: PipeFile, batch_size: int, device: torch.device) -> float:
    """Returns the milliseconds that a clip's bytes take from pinned memory to the GPU."""
    clip = cached_batch(pipe.recipe, batch_size, torch.device("cpu")).clip.pin_memory()
    clip.to(device, non_blocking=True)
    seconds = timed(lambda: [clip.to(device, non_blocking=True) for _ in range(10)], device)
    return round(1000 * seconds / 10 / batch_size, 4)


def measure_models(args: argparse.Namespace, pipe: PipeFile, device: torch.device, clock: Clock) -> Iterator[dict[str, Any]]:
    """Measures the first recipe's model in other ways of running it: eager, and channels first as peers do."""
    model_time = ModelTime(device)
    ways: list[tuple[str, str, dict[str, Any]]] = [
        ("channels first, eager (as peers)", "fp32", {"compiled": False, "channels_first": True}),
        ("channels last, eager", "fp32", {"compiled": False}),
    ]
    if device.type == "cuda":
        ways += [(name, "bf16", changes) for name, _, changes in ways]
        ways += [("compiled, reduce-overhead", "bf16", {"compiled": True, "mode": "reduce-overhead"})]
    for name, precision, changes in ways:
        if not clock.allows(f"{name}, {precision}", model_time.needs_s(changes["compiled"])):
            continue
        trained = Trained(pipe.recipe, device, precision=precision, **changes)
        warmup, steps = min(args.model_warmup, 4), args.model_steps
        rounds = model_rounds(trained, args.model_batch_size, warmup, steps, args.model_rounds)
        yield {"name": name, "precision": precision, "pipe": pipe.path.name, **rounds.facts()}
        del trained
