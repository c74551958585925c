"""Trains the demo's recipe with each ingredient of training alone, and with those of k400_8x8_plus, on hard videos: a toy.

    python benchmarks/ablation.py                    # some 100 runs; goes on with what benchmarks/results has of them
    python benchmarks/ablation.py --only plain ema   # some of the variants

Whole runs of `train` and `test`, with as many optimizer steps each, of as many clips. A run's score is that of its last
weights. The variants were written down before any was run, and none was changed by what came out. Says nothing of Kinetics.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import time
from concurrent.futures import Executor, Future, as_completed
from pathlib import Path
from typing import Any

from hard_videos import FIRST, LENGTH, make_hard_videos
from ingredient_variants import changes, plain_recipe, variants
from machine import describe_machine
from result_file import write_result
from short_runs import Run, processes, train_and_score

from c2d_fast.prepare.demo_data import CLASSES

FORMAT = "c2d_fast.benchmark.ablation/1"
HERE = Path(__file__).parent
RESULT = HERE / "results" / "ablation-cpu.json"
"""What docs/benchmarks.md shows."""
PLAIN = "plain"


def summary(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Returns of each variant that has runs: runs, mean and standard deviation over the seeds, difference to plain by seed."""
    top1: dict[str, dict[int, float]] = {name: {} for name in result["variants"]}
    for row in result["runs"]:
        top1[row["variant"]][row["seed"]] = row["top1"]
    found = {}
    for name, scores in top1.items():
        pairs = [score - top1[PLAIN][seed] for seed, score in scores.items() if seed in top1[PLAIN]]
        if not pairs:
            continue
        of_pairs = statistics.stdev(pairs) / len(pairs) ** 0.5 if len(pairs) > 1 else float("nan")
        deviation = statistics.stdev(scores.values()) if len(scores) > 1 else float("nan")
        found[name] = {
            "runs": len(scores),
            "mean": statistics.mean(scores.values()),
            "deviation": deviation,
            "difference": statistics.mean(pairs),
            "standard_error": of_pairs,
        }
    return found


def table(result: dict[str, Any]) -> str:
    """Returns the figures as a table of Markdown, and what they were measured on."""
    head = ("recipe", "what is changed", "top-1, %", "standard deviation", "against plain, same seed (standard error)")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, row in summary(result).items():
        against = "" if name == PLAIN else f"{row['difference']:+.1f} ({row['standard_error']:.1f})"
        what = result["variants"][name]["what"]
        lines.append(f"| {name} | {what} | {row['mean']:.1f} | {row['deviation']:.1f} | {against} |")
    machine, settings = result["machine"], result["settings"]
    seeds = sorted({row["seed"] for row in result["runs"]})
    said = (
        f"{len(seeds)} seeds each, {settings['steps']} steps of {settings['batch_size']} clips. {len(CLASSES)} classes (chance "
        f"{100 / len(CLASSES):.1f} %), {settings['train_videos']} videos for training, {settings['val_videos']} for the score."
    )
    where = f"Measured on {result['date']} on {machine['cpu']}, {machine['cpus']} CPUs, with PyTorch {machine['torch']}."
    return "\n".join([*lines, "", f"{said} {where}"])


TABLES = {"ablation": table}
"""Marks of docs/benchmarks.md -> what stands between them."""


class Ablation:
    """The runs of a table, those that an earlier result has taken over."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.folder = args, args.data / "ablation"
        recipe = plain_recipe(args.epochs)
        counts = {"train": (args.train_videos,) * len(CLASSES), "val": (args.val_videos,) * len(CLASSES)}
        self.lists = make_hard_videos(args.data / f"hard-{args.noise:g}", counts, args.noise)
        self.steps = args.epochs * (sum(counts["train"]) // recipe.training.clips_per_gpu)
        self.variants = variants(recipe, self.steps)
        self.result: dict[str, Any] = {
            "format": FORMAT,
            "date": time.strftime("%Y-%m-%d"),
            "machine": describe_machine("torchvision", "opencv-python-headless"),
            "settings": {
                "steps": self.steps,
                "batch_size": recipe.training.clips_per_gpu,
                "epochs": args.epochs,
                "train_videos": sum(counts["train"]),
                "val_videos": sum(counts["val"]),
                "noise": args.noise,
                "frames_of_video": LENGTH,
                "first_video": FIRST,
                "model": "ResNet-18 of a quarter of the width",
                "frames": recipe.clip.num_frames,
                "size": recipe.crop.size,
            },
            "variants": {
                name: {"what": one.what, "changes": changes(recipe, one.recipe), "sha256": _digest(one.recipe)}
                for name, one in self.variants.items()
            },
            "runs": [],
        }
        self._take_over()

    def _take_over(self) -> None:
        """Takes up what was measured before with the same recipes and settings."""
        if self.args.again or not self.args.out.exists():
            return
        before = json.loads(self.args.out.read_text())
        if before.get("format") != FORMAT or before["settings"] != self.result["settings"]:
            return
        for row in before["runs"]:
            one = self.result["variants"].get(row["variant"])
            same = one is not None and before["variants"][row["variant"]]["sha256"] == one["sha256"]
            if same and (row["variant"] != PLAIN or self.teacher(row["seed"]).exists()):
                self.result["runs"].append(row)

    def teacher(self, seed: int) -> Path:
        """Returns where the weights of the plain run of a seed are kept."""
        return self.folder / f"teacher-{self.args.noise:g}-{self.steps}-{seed}.pt"

    def is_done(self, name: str, seed: int) -> bool:
        """Says whether a run has been measured."""
        return any((row["variant"], row["seed"]) == (name, seed) for row in self.result["runs"])

    def todo(self, name: str, seed: int) -> Run:
        """Returns a run. A student's teacher is the plain run of the next seed."""
        recipe = self.variants[name].recipe
        teacher = self.teacher((seed + 1) % self.args.seeds) if recipe.distill else None
        places = {
            "train": self.lists["train"],
            "val": self.lists["val"],
            "out": self.folder / f"{name.replace(' ', '-')}-{seed}",
        }
        return Run(name=name, recipe=recipe, seed=seed, teacher=teacher, **places)

    def take(self, runs: list[Run], pool: Executor) -> None:
        """Trains side by side, and writes the result after each run."""
        futures: dict[Future[dict[str, Any]], Run] = {pool.submit(train_and_score, run): run for run in runs}
        for number, future in enumerate(as_completed(futures), 1):
            run, row = futures[future], future.result()
            assert row["steps"] == self.steps, f"{run.name} took {row['steps']} steps, not {self.steps}"
            if run.name == PLAIN:
                shutil.copyfile(run.checkpoint, self.teacher(run.seed))
            shutil.rmtree(run.out)
            kept = {key: row[key] for key in ("top1", "seconds")}
            self.result["runs"].append({"variant": run.name, "seed": run.seed, **kept})
            write_result(self.args.out, self.result)
            print(f"{number}/{len(runs)} {run.name}, seed {run.seed}: {row['top1']:.1f} %", flush=True)


def _digest(recipe: Any) -> str:
    # A part's new field whose default changes nothing must not make what was measured another recipe's: only what it says.
    return hashlib.sha256(json.dumps(changes(plain_recipe(1), recipe), sort_keys=True).encode()).hexdigest()[:16]


def main() -> None:
    """Trains what is still to be trained, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=16, help="of all recipes but those of several clips a video")
    parser.add_argument("--train-videos", type=int, default=25, help="of each class")
    parser.add_argument("--val-videos", type=int, default=30, help="of each class")
    parser.add_argument("--noise", type=float, default=10.0, help="standard deviation, of 255")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="these and plain; default: all")
    parser.add_argument("--again", action="store_true", help="measure again what was measured with the same recipes")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="runs side by side")
    parser.add_argument("--data", type=Path, default=Path("data/benchmark"), help="folder for videos and teachers, kept")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    args.data = args.data.absolute()
    ablation = Ablation(args)
    if unknown := set(args.only or ()) - set(ablation.variants):
        parser.error(f"--only: {', '.join(unknown)}; there are {', '.join(ablation.variants)}")
    names = [name for name in ablation.variants if name != PLAIN and (not args.only or name in args.only)]
    ablation.folder.mkdir(parents=True, exist_ok=True)
    # The plain ones first: they are the teachers. Then seed by seed.
    with processes(args.jobs) as pool:
        for some in ([PLAIN], names):
            runs = [(name, seed) for seed in range(args.seeds) for name in some if not ablation.is_done(name, seed)]
            ablation.take([ablation.todo(*run) for run in runs], pool)
    write_result(args.out, ablation.result)
    print(table(ablation.result))


if __name__ == "__main__":
    main()
