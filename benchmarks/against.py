"""Compares the training loader of this checkout with that of another one, in turns, on the same clips of the same files.

    git worktree add /tmp/before HEAD~1
    python benchmarks/against.py /tmp/before --manifest val.npz

Each round is a process of its own, of either checkout's code. The other's benchmarks/measure.py and stored.py must have what is
used here. Says whether a change has cost any speed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import describe_machine
from result_file import write_result

FORMAT = "c2d_fast.benchmark.against/1"
HERE = Path(__file__).parent
LIMIT_S = 600.0
ROUND = """
import sys, torch
from pathlib import Path
from measure import Setting, loader_round
from stored import read_form
from c2d_fast.recipe import load_pipe
path, steps, seed, workers, batch_size = Path(sys.argv[1]), *map(int, sys.argv[2:])
setting = Setting(
    device=torch.device("cpu"), decoder="auto", workers=workers, decoder_threads=1, batch_size=batch_size
)
print("clips/s", loader_round(load_pipe("k400_8x8"), read_form("", path), setting, 2, steps, seed))
"""


def main() -> None:
    """Measures and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="folder of the other checkout")
    parser.add_argument("--manifest", type=Path, required=True, help="videos to read, as prepare scan or transcode writes it")
    parser.add_argument("--steps", type=int, default=40, help="batches that are timed in a round")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "against-cpu.json")
    args = parser.parse_args()
    folders = {"this": HERE.parent, "other": args.other}
    rates: dict[str, list[float]] = {name: [] for name in folders}
    for number in range(args.rounds):
        for name in folders if number % 2 else reversed(folders):  # who comes first finds the machine another
            rates[name].append(measure(folders[name], args, number))
            print(f"round {number + 1}, {name}: {rates[name][-1]:.1f} clips/s", flush=True)
    ratios = [this / other for this, other in zip(rates["this"], rates["other"], strict=True)]
    result = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "commits": {name: commit_of(folder) for name, folder in folders.items()},
        "settings": {name: getattr(args, name) for name in ("steps", "batch_size", "workers", "rounds")},
        "clips_per_s": {name: [round(rate, 2) for rate in values] for name, values in rates.items()},
        "ratio": {"median": round(statistics.median(ratios), 4), "low": round(min(ratios), 4), "high": round(max(ratios), 4)},
    }
    write_result(args.out, result)
    print(f"this / other: {result['ratio']}; written to {args.out}")


def measure(folder: Path, args: argparse.Namespace, seed: int) -> float:
    """Returns the clips a second of a round."""
    path = os.pathsep.join(map(str, (folder.resolve(), folder.resolve() / "benchmarks")))
    words = [sys.executable, "-c", ROUND, args.manifest.resolve(), args.steps, seed, args.workers, args.batch_size]
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([*map(str, words)], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    if done.returncode:
        sys.exit(f"error: {folder}: a round failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def commit_of(folder: Path) -> str:
    """Returns the commit that a checkout is at."""
    words = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60).stdout.strip()


if __name__ == "__main__":
    main()
