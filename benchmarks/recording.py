"""Measures what recording costs a run: the whole demo, with pictures as they come by default and without any.

    python benchmarks/recording.py          # about six minutes on two CPU cores; nothing else should run

Writes benchmarks/results/recording-cpu.json (or -gpu.json), which docs/seeing.md and a test quote.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import describe_machine
from subprocesses import run_python

ROOT = Path(__file__).parents[1]
FORMAT = "c2d_fast.benchmark.recording/1"
_LINE = re.compile(r"recording took ([\d.]+) % of the time: ([\d.]+) ms for each step of (\d+) ms")


def main() -> None:
    """Measures and writes."""
    name = f"recording-{'gpu' if torch.cuda.is_available() else 'cpu'}.json"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=25, help="of each run (default 25, the recipe's)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / name, help="the JSON to write")
    args = parser.parse_args()
    runs = {"default": measure(args.epochs, []), "no pictures": measure(args.epochs, ["--pictures-every", "0"])}
    result = {"format": FORMAT, "epochs": args.epochs, "runs": runs, "machine": describe_machine("tensorboard", "matplotlib")}
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    for kind, run in runs.items():
        print(f"{kind}: {run['recording_percent']} % of the time, {run['recording_ms']} of {run['step_ms']} ms a step")
    print(f"written: {args.out}")


def measure(epochs: int, flags: list[str]) -> dict[str, Any]:
    """Trains the demo; returns what it says of recording, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "c2d_fast.train", "--pipe", "dali_pipes/demo.py", "--epochs", epochs]
        started_s = time.monotonic()
        out = run_python(*command, "--out", f"{folder}/run", *flags, cwd=ROOT)
        elapsed_s = time.monotonic() - started_s
    found = _LINE.search(out)
    if not found:
        sys.exit(f"error: the run does not say what recording took: {out}")
    percent, spent_ms, step_ms = found.groups()
    return {
        "recording_percent": float(percent),
        "recording_ms": float(spent_ms),
        "step_ms": float(step_ms),
        "command_s": round(elapsed_s, 1),
    }


if __name__ == "__main__":
    main()
