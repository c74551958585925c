"""Compares training in mixed precision with training in full precision: validation top-1 over several seeds.

    python benchmarks/precision.py                      # bf16 against fp32, three seeds: a quarter of an hour on two cores
    python benchmarks/precision.py --precision fp16     # with a gradient scaler; CPUs are very slow at it

Every run is `python -m c2d_fast.train` on generated videos, in a process of its own; nothing but --precision and --seed
differs. The result is written as JSON and names the device that it was measured on.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from machine import dali_versions, version
from subprocesses import run_python

from c2d_fast.prepare.demo_data import CLASSES, make_demo_data

FORMAT = "c2d_fast.benchmark.precision/1"
HERE = Path(__file__).parent
PIPE = HERE / "small_64px.py"


def main() -> None:
    """Trains every pair of precision and seed, and writes the comparison."""
    args = parse()
    print(make_demo_data(args.data, {"train": args.train_per_class, "val": args.val_per_class}))
    runs = [train(args, precision, seed) for seed in range(args.seeds) for precision in ("fp32", args.precision)]
    means = {name: statistics.mean(r["top1"] for r in runs if r["precision"] == name) for name in ("fp32", args.precision)}
    result = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "pipe": PIPE.name,
        "epochs": args.epochs,
        "videos": {"train": len(CLASSES) * args.train_per_class, "val": len(CLASSES) * args.val_per_class},
        "runs": runs,
        "mean_top1": means,
        "difference_points": means[args.precision] - means["fp32"],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    where = result["machine"]["gpu"] or "a CPU"
    print(f"\nmean validation top-1 over {args.seeds} seeds on {where}:")
    for name, mean in means.items():
        each = ", ".join(f"{r['top1']:.1f}" for r in runs if r["precision"] == name)
        print(f"  {name}  {mean:.2f} %  ({each})")
    print(f"{args.precision} - fp32: {result['difference_points']:+.2f} points; written to {args.out}")


def parse() -> argparse.Namespace:
    """Parses the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp16"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--train-per-class", type=int, default=40)
    parser.add_argument("--val-per-class", type=int, default=26)
    parser.add_argument("--data", type=Path, default=Path("data/precision"), help="folder for the generated videos")
    parser.add_argument("--runs", type=Path, default=Path("runs/precision"), help="run folders go below it")
    parser.add_argument("--out", type=Path, help="JSON file (default: benchmarks/results/precision-<cpu|gpu>.json)")
    args = parser.parse_args()
    device = "gpu" if torch.cuda.is_available() else "cpu"
    args.out = args.out or HERE / "results" / f"precision-{device}.json"
    return args


def train(args: argparse.Namespace, precision: str, seed: int) -> dict[str, Any]:
    """Trains once and returns the last epoch's validation figures."""
    folder = args.runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{precision}-{seed}"
    lists = ["--data-root", args.data, "--train-list", args.data / "train.txt", "--val-list", args.data / "val.txt"]
    options = ["--precision", precision, "--seed", seed, "--epochs", args.epochs, "--out", folder]
    started_s = time.perf_counter()
    run_python("-m", "c2d_fast.train", "--pipe", PIPE, *lists, *options)
    seconds = time.perf_counter() - started_s
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "val"][-1]
    assert last["epoch"] == args.epochs
    print(f"seed {seed} {precision}: top-1 {last['top1']:.2f} % of {last['videos']} videos, {seconds:.0f} s", flush=True)
    return {"precision": precision, "seed": seed, "top1": last["top1"], "loss": last["loss"], "seconds": round(seconds, 1)}


def describe_machine() -> dict[str, Any]:
    """Returns what the figures were measured on."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "gpu": gpu,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": version("torch"),
        **dali_versions(),
        "av": version("av"),
    }


if __name__ == "__main__":
    main()
