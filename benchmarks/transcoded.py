"""Trains on the demo data as it is made and as `prepare transcode` stores it, and compares the validation scores.

    python benchmarks/transcoded.py           # about two minutes a run on two cores

Every run is `python -m c2d_fast.train` in a process of its own; nothing but the lists and --seed differs. Training and
validation videos are both transcoded.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from machine import describe_machine
from subprocesses import run_python

from c2d_fast.prepare.demo_data import make_demo_data

FORMAT = "c2d_fast.benchmark.transcoded/1"
PIPE = Path(__file__).parents[1] / "dali_pipes" / "demo.py"


def main() -> None:
    """Trains each form with each seed and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--data", type=Path, default=Path("data/demo"), help="folder of the demo data")
    parser.add_argument("--transcoded", type=Path, default=Path("data/demo-transcoded"), help="folder for them transcoded")
    parser.add_argument("--runs", type=Path, default=Path("runs/transcoded"), help="run folders go below it")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "transcoded-cpu.json")
    args = parser.parse_args()
    print(make_demo_data(args.data))
    for split in ("train", "val"):
        command("prepare", "transcode", "--list", args.data / f"{split}.txt", "--out", args.transcoded)
    lists = {
        "as made": [args.data / "train.txt", args.data / "val.txt"],
        "transcoded": [args.transcoded / "train.npz", args.transcoded / "val.npz"],
    }
    runs = [train(args, form, paths, seed) for seed in range(args.seeds) for form, paths in lists.items()]
    means = {form: statistics.mean(run["top1"] for run in runs if run["form"] == form) for form in lists}
    result = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "pipe": PIPE.name,
        "flags of prepare transcode": [],
        "runs": runs,
        "mean_top1": means,
        "difference_points": round(means["transcoded"] - means["as made"], 2),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"mean validation top-1: {means}, difference {result['difference_points']:+.2f} points; written to {args.out}")


def train(args: argparse.Namespace, form: str, lists: list[Path], seed: int) -> dict[str, Any]:
    """Trains once and returns the last epoch's validation figures."""
    folder = args.runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{form.replace(' ', '-')}-{seed}"
    flags = ["--pipe", PIPE, "--train-list", lists[0], "--val-list", lists[1], "--seed", seed, "--out", folder]
    started_s = time.perf_counter()
    command("train", *flags)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "val"][-1]
    print(f"seed {seed}, {form}: top-1 {last['top1']:.2f} % of {last['videos']} videos", flush=True)
    seconds = round(time.perf_counter() - started_s, 1)
    return {"form": form, "seed": seed, "top1": last["top1"], "loss": last["loss"], "seconds": seconds}


def command(*parts: Any) -> None:
    """Runs a command of the project that must succeed."""
    run_python("-m", f"c2d_fast.{parts[0]}", *parts[1:])


if __name__ == "__main__":
    main()
