"""Trains with several labels a video, and with classes of which some are rare: what comes of it, on generated videos.

    python benchmarks/labels.py                     # minutes on two CPU cores
    python benchmarks/labels.py --only several      # or: imbalanced

Several: each video shows any number of five kinds of marks, or none (label_videos.py). Imbalanced: the ablation's noisy videos
(hard_videos.py) of four classes, the first 50 times as often as the last, and a validation that has all equally often. Whole
runs of `train` and `test`; a run's score is that of its last weights.
"""

import argparse
import json
import os
import shutil
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from hard_videos import make_hard_videos
from ingredient_variants import plain_recipe
from label_videos import KINDS, make_label_videos
from machine import describe_machine
from result_file import write_result
from short_runs import Run, processes, train_and_score

from c2d_fast.prepare.demo_data import CLASSES
from c2d_fast.recipe import Labels, Recipe

FORMAT = "c2d_fast.benchmark.labels/1"
RESULT = Path(__file__).parent / "results" / "labels-cpu.json"
"""What docs/benchmarks.md shows."""
COUNTS = (150, 40, 11, 3)
"""Training videos of the four classes."""
_NOISE = 10.0
WAYS = {
    "as they are": (Labels(), ()),
    "`--balance`": (Labels(), ("--balance",)),
    '`class_weights="balanced"`': (Labels(class_weights="balanced"), ()),
}
"""How rare classes are treated: of the recipe, and flags of `train`."""


def several_recipe(epochs: int) -> Recipe:
    """Returns the recipe of several labels."""
    recipe = plain_recipe(epochs)
    crop = replace(recipe.crop, size=56, train_short_side=64, test_short_side=56)
    model = replace(recipe.model, num_classes=len(KINDS))
    return replace(recipe, name="several", model=model, crop=crop, labels=Labels(kind="several"))


def imbalanced_recipe(epochs: int, labels: Labels) -> Recipe:
    """Returns the recipe of rare classes."""
    recipe = plain_recipe(epochs)
    return replace(recipe, name="imbalanced", model=replace(recipe.model, num_classes=len(COUNTS)), labels=labels)


def several_table(result: dict[str, Any]) -> str:
    """Returns the mAP of several labels a video as a sentence, and what it was measured on."""
    several = result["several"]
    scores = [row["mAP"] for row in several["runs"]]
    each = ", ".join(f"{score:.1f} %" for score in scores)
    said = (
        f"mAP {each} with {len(scores)} seeds ({several['runs'][0]['steps']} steps; {several['train_videos']} videos for "
        f"training, {several['val_videos']} for the score, of {len(KINDS)} kinds, each in {several['shown_percent']:.0f} % of "
        f"them; {several['empty']} of the latter show none)."
    )
    return f"{said} {measured_on(result)}"


def balance_table(result: dict[str, Any]) -> str:
    """Returns what balancing does to rare classes as a table of Markdown."""
    imbalanced = result["imbalanced"]
    names = [f"{name}: {count}" for name, count in zip(imbalanced["classes"], imbalanced["counts"], strict=True)]
    lines = [
        f"| training | mean class accuracy, % (standard deviation) | {' | '.join(names)} |",
        "|---|---|" + "---|" * len(names),
    ]
    for way in dict.fromkeys(row["way"] for row in imbalanced["runs"]):
        rows = [row for row in imbalanced["runs"] if row["way"] == way]
        scores = [row["mean_class_accuracy"] for row in rows]
        recall = [f"{statistics.mean(values):.0f}" for values in zip(*(row["recall"] for row in rows), strict=True)]
        spread = f" ({statistics.stdev(scores):.1f})" if len(scores) > 1 else ""
        lines.append(f"| {way} | {statistics.mean(scores):.1f}{spread} | {' | '.join(recall)} |")
    seeds = len({row["seed"] for row in imbalanced["runs"]})
    said = (
        f"Of each class: its training videos, and how many per cent of its {imbalanced['val_videos_of_class']} validation "
        f"videos are recognised. Means of {seeds} seeds, {imbalanced['runs'][0]['steps']} steps each."
    )
    return "\n".join([*lines, "", f"{said} {measured_on(result)}"])


def measured_on(result: dict[str, Any]) -> str:
    """Returns the date and the machine."""
    machine = result["machine"]
    return f"Measured on {result['date']} on {machine['cpu']}, {machine['cpus']} CPUs, with PyTorch {machine['torch']}."


TABLES = {"labels-several": several_table, "labels-balance": balance_table}
"""Marks of docs/benchmarks.md -> what stands between them."""


def several_runs(args: argparse.Namespace) -> tuple[dict[str, Any], list[Run]]:
    """Makes the videos of several labels; returns facts of them, and the runs."""
    folder = args.data / "several"
    lists = make_label_videos(folder, {"train": args.videos, "val": args.videos // 2})
    labels = [line.split()[1] for line in (folder / "val.txt").read_text().splitlines()]
    shown = sum(len(label.split(",")) for label in labels if label != "-1")
    facts = {
        "train_videos": args.videos,
        "val_videos": args.videos // 2,
        "kinds": list(KINDS),
        "shown_percent": round(100 * shown / len(labels) / len(KINDS), 1),
        "empty": labels.count("-1"),
    }
    recipe, out = several_recipe(2 * args.epochs), args.data / "several runs"
    return facts, [Run(name="several", recipe=recipe, seed=n, out=out / str(n), **lists) for n in range(args.seeds)]


def imbalanced_runs(args: argparse.Namespace) -> tuple[dict[str, Any], list[Run]]:
    """Makes the videos of rare classes; returns facts of them, and the runs."""
    counts = [max(count * args.share // 100, 1) for count in COUNTS]
    val = max(40 * args.share // 100, 1)
    lists = make_hard_videos(args.data / f"imbalanced-{_NOISE:g}", {"train": counts, "val": [val] * len(counts)}, _NOISE)
    facts = {"counts": counts, "classes": list(CLASSES[: len(COUNTS)]), "val_videos_of_class": val, "noise": _NOISE}
    runs = [
        Run(name=way, recipe=imbalanced_recipe(args.epochs, labels), seed=seed, flags=flags,
            out=args.data / "imbalanced runs" / f"{number}-{seed}", **lists)
        for seed in range(args.seeds)
        for number, (way, (labels, flags)) in enumerate(WAYS.items())
    ]  # fmt: skip
    return facts, runs


def main() -> None:
    """Trains, and writes the JSON after each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("several", "imbalanced"), help="default: both; the other part stays as it was")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--videos", type=int, default=320, help="with several labels, for training; half as many for the score")
    parser.add_argument("--share", type=int, default=100, help="per cent of the videos of rare and of frequent classes")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="runs side by side")
    parser.add_argument("--data", type=Path, default=Path("data/benchmark"), help="folder for the videos, kept")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    args.data = args.data.absolute()
    before = json.loads(args.out.read_text()) if args.only and args.out.exists() else {}
    head = {"format": FORMAT, "date": time.strftime("%Y-%m-%d"), "machine": describe_machine("torchvision")}
    result: dict[str, Any] = before | head
    parts = {
        "several": (several_runs, "mAP", several_table),
        "imbalanced": (imbalanced_runs, "mean_class_accuracy", balance_table),
    }
    with processes(args.jobs) as pool:
        for part, (make_runs, score, table) in parts.items():
            if args.only not in (None, part):
                continue
            facts, runs = make_runs(args)
            rows = []
            for run, row in zip(runs, pool.map(train_and_score, runs), strict=True):
                print(f"{run.name}, seed {run.seed}: {score} {row[score]:.1f} %", flush=True)
                kept = {key: row[key] for key in (score, "steps", "seconds", "recall") if key in row}
                rows.append({"way": run.name, "seed": run.seed, **kept})
                shutil.rmtree(run.out)
            result[part] = {**facts, "runs": rows}
            write_result(args.out, result)
            print(table(result))


if __name__ == "__main__":
    main()
