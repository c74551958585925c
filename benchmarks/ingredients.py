"""Measures what each ingredient of a recipe costs in a training step: clips per second against the recipe without it.

    python benchmarks/ingredients.py                    # minutes on a CPU
    python benchmarks/ingredients.py --batch-size 32    # a GPU, where there is one; not tried there yet

The trainer's own step, and the transforms of clips before it, on one made-up batch that is there already. Each timing stands
between two of the plain recipe, and is compared with their mean. Timed is the processor's time, with one thread, which other
programs disturb little; on a GPU the clock's. Ingredients that change no step are left out: what the loader's workers do
otherwise (frames, crops, several clips of a decode), and the schedule of the rate.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ingredient_variants import Variant, variants
from machine import describe_machine
from result_file import write_result
from rounds import timed
from trained import Trained, cached_batch

from c2d_fast.loading.clip_transforms import make_transform, transformed
from c2d_fast.model.c2d import C2D, compile_model
from c2d_fast.recipe import Recipe, load_pipe
from c2d_fast.training.averaged_weights import AveragedWeights
from c2d_fast.training.metrics import RunningMetrics
from c2d_fast.training.mixing import Mixing
from c2d_fast.training.objective import Objective
from c2d_fast.training.schedule import make_optimizer
from c2d_fast.training.teacher import ModelTeacher, Teacher
from c2d_fast.training.throughput import InFlightSteps

FORMAT = "c2d_fast.benchmark.ingredients/1"
HERE = Path(__file__).parent
RESULT = HERE / "results" / "ingredients-cpu.json"
"""What docs/benchmarks.md shows."""
GOAL_PERCENT = 2.0
"""Most that an ingredient is to cost on a GPU."""
_LR = 1e-5
_NO_STEP = ("cosine", "random resized crop", "two clips a video", "uniform sampling", "grid")
"""Variants of the ablation that are left out."""


def cost_percent(row: dict[str, Any]) -> float:
    """Returns how many fewer clips a second an ingredient leaves, per cent; below 0: more."""
    return float(100 * (1 - row["median"]))


def table(result: dict[str, Any]) -> str:
    """Returns the costs as a table of Markdown, what is above the goal, and what they were measured on."""
    models = result["models"]
    lines = [f"| ingredient | {' | '.join(model['name'] for model in models)} |", "|---|" + "---|" * len(models)]
    rows = [{row["name"]: row for row in model["rows"]} for model in models]
    for name in dict.fromkeys(row["name"] for model in models for row in model["rows"]):
        cells = [_cell(of_model[name]) if name in of_model else "" for of_model in rows]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    clear = [
        f"{name} ({', '.join(f'{cost_percent(of_model[name]):.0f} %' for of_model in rows if name in of_model)})"
        for name in rows[0]
        if any(name in of_model and 100 * (1 - of_model[name]["high"]) > GOAL_PERCENT for of_model in rows)
    ]
    said = f"Above {GOAL_PERCENT:g} % in every round, of one model at least: {', '.join(clear) or 'none'}."
    machine = result["machine"]
    where = machine["gpu"] or f"one core of {machine['cpu']}"
    plain = ", ".join(f"{model['clips_per_s']:.1f} clips/s ({model['name']})" for model in models)
    batches = f"batches of {result['settings']['batch_size']}"
    facts = f"Measured on {result['date']} on {where}, with PyTorch {machine['torch']}; {batches}; plain: {plain}."
    return "\n".join([*lines, "", said, "", facts])


def _cell(row: dict[str, Any]) -> str:
    least, most = 100 * (1 - row["high"]), 100 * (1 - row["low"])
    return f"{cost_percent(row):.1f} % ({least:.1f} to {most:.1f})"


TABLES = {"ingredients": table}
"""Marks of docs/benchmarks.md -> what stands between them."""


class Steps:
    """Takes training steps with an ingredient; all share a model, which is compiled once."""

    def __init__(self, trained: Trained, recipe: Recipe, batch_size: int, teacher: Teacher | None):
        self._step = dataclasses.replace(
            trained.train_step,
            optimizer=make_optimizer(trained.model, recipe.training, _LR),
            objective=Objective.of(recipe),
            mixing=Mixing(recipe.augment, 0) if recipe.augment.mixes else None,
            teacher=teacher if recipe.distill else None,
            averaged=AveragedWeights(trained.model, recipe.training.ema) if recipe.training.ema else None,
        )
        self._transform = make_transform(recipe.augment)
        self._batch = cached_batch(recipe, batch_size, trained.device)
        self._metrics, self._in_flight = RunningMetrics(trained.device), InFlightSteps(trained.device)
        self._number, self._device = 0, trained.device

    def take(self, count: int) -> None:
        """Takes so many."""
        for _ in range(count):
            self._number += 1
            batch = transformed(self._batch, self._transform, self._number) if self._transform else self._batch
            self._in_flight.add(self._step(iter([batch]), self._number, self._metrics))

    def seconds(self, count: int) -> float:
        """Returns what so many take."""
        if self._device.type == "cuda":
            return timed(lambda: self.take(count), self._device)
        started_s = time.process_time()
        self.take(count)
        return time.process_time() - started_s


def measured_variants(recipe: Recipe) -> dict[str, Variant]:
    """Returns the variants that change a step, those of the ablation and two more."""
    found = {name: one for name, one in variants(recipe, steps=1000).items() if name not in _NO_STEP}
    for name, values in (("grayscale", {"grayscale": 0.2}), ("trivialaugment", {"policy": "trivialaugment"})):
        found[name] = Variant(dataclasses.replace(recipe, augment=dataclasses.replace(recipe.augment, **values)), "")  # type: ignore[arg-type]
    return found


def measure(
    name: str, recipe: Recipe, args: argparse.Namespace, device: torch.device, note: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Measures all ingredients with a model, in rounds; note is told of the figures after each round."""
    trained = Trained(recipe, device, precision=None, compiled=None)
    all_steps = {}
    for variant, one in measured_variants(recipe).items():
        teacher = None
        if one.recipe.distill:
            network = compile_model(C2D(recipe.model).to(device).eval().requires_grad_(False), None, device)
            teacher = ModelTeacher(network, one.recipe.distill.temperature, trained.precision)
        all_steps[variant] = Steps(trained, one.recipe, args.batch_size, teacher)
        all_steps[variant].take(args.warmup)
    plain = all_steps.pop("plain")
    ratios: dict[str, list[float]] = {variant: [] for variant in all_steps}
    plains: list[float] = []
    found: dict[str, Any] = {}
    for number in range(args.rounds):
        before = plain.seconds(args.steps)
        for variant, steps in all_steps.items():
            taken, after = steps.seconds(args.steps), plain.seconds(args.steps)
            ratios[variant].append((before + after) / 2 / taken)
            plains.append(after)
            before = after
        rows = [
            {"name": variant, "median": round(statistics.median(some), 4), "low": round(min(some), 4),
             "high": round(max(some), 4), "rounds": [round(value, 4) for value in some]}
            for variant, some in ratios.items()
        ]  # fmt: skip
        rate = args.batch_size * args.steps / statistics.median(plains)
        found = {"name": name, "clips_per_s": round(rate, 2), "precision": trained.precision.name, "rows": rows}
        note(found)
        print(f"{name}: round {number + 1} of {args.rounds}", flush=True)
    return found


def main() -> None:
    """Measures and writes the JSON after each round."""
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=32 if gpu else 8)
    parser.add_argument(
        "--size", type=int, default=224 if gpu else 64, help="pixels of k400_8x8's clips (default on a CPU: 64)"
    )
    parser.add_argument("--warmup", type=int, default=5 if gpu else 1, help="steps that are not counted, of each ingredient")
    parser.add_argument("--steps", type=int, default=20 if gpu else 1, help="steps of a timing")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=("demo", "k400_8x8"), default=["demo", "k400_8x8"])
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"ingredients-{'gpu' if gpu else 'cpu'}.json")
    args = parser.parse_args()
    device = torch.device("cuda" if gpu else "cpu")
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine("torchvision"),
        "settings": {
            "batch_size": args.batch_size, "size": args.size, "steps": args.steps, "rounds": args.rounds,
            "time": "clock" if gpu else "processor",
        },
        "models": [],
    }  # fmt: skip
    done: list[dict[str, Any]] = []

    def note(found: dict[str, Any]) -> None:
        write_result(args.out, result | {"models": [*done, found]})

    for pipe in args.only:
        recipe, title = load_pipe(pipe).recipe, f"`{pipe}`"
        if pipe == "k400_8x8" and args.size != recipe.crop.size:
            recipe = dataclasses.replace(
                recipe, crop=dataclasses.replace(recipe.crop, size=args.size, test_short_side=args.size)
            )
            title += f" at {args.size} pixels"
        done.append(measure(title, recipe, args, device, note))
    print(table(result | {"models": done}))


if __name__ == "__main__":
    main()
