"""The first minutes on a GPU, in stages: each is a process of its own with a budget of time, and leaves JSON as it goes.

    python benchmarks/gpu_stages.py probe --out results        # what the machine has
    setsid python -u benchmarks/gpu_stages.py models --out results > models.log 2>&1 &    # needs torch and torchvision alone
    python benchmarks/gpu_stages.py --out results              # all of them, one after the other
    python benchmarks/gpu_stages.py --rehearse --out /tmp/rehearsal --data /tmp/videos    # on a machine without a GPU

Stages, in their order: probe, models (the four recipes, compiled side by side and timed), decode (does NVDEC work, and its
tests; makes the videos of the next two), loaders (a sweep), both (loader and model together), train (the tests of training).
"""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

from result_file import THROUGHPUT
from stages import both, decode, loaders, models, probe, train
from stages.card import find_card
from stages.stage import Asked, Stage

CHECKS = "c2d_fast.benchmark.gpu_stage/1"
STAGES = {
    "probe": (probe.run, CHECKS),
    "models": (models.run, THROUGHPUT),
    "decode": (decode.run, CHECKS),
    "loaders": (loaders.run, THROUGHPUT),
    "both": (both.run, THROUGHPUT),
    "train": (train.run, CHECKS),
}
GRACE_S = 30.0
"""A stage ends its children within its budget; one that has not ended so long after it is ended from outside."""


def main() -> int:
    """Runs one stage in this process, or each in one of its own."""
    args = parse()
    card = find_card()
    if card is None and not args.rehearse and args.stage != "probe":
        print("error: there is no GPU; give --rehearse to try the stages without one", file=sys.stderr)
        return 2
    # A job that is told to end ends its children first.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if args.stage is None:
        return run_all(args)
    asked = Asked(out=args.out, data=args.data, budget_s=args.budget, rehearse=args.rehearse)
    run, file_format = STAGES[args.stage]
    stage = Stage(args.stage, file_format, asked, card)
    with stage.open():
        run(stage)
    if card is None and not args.rehearse:
        print("error: there is no GPU: the other stages will not run", file=sys.stderr)
        return 2
    return 0


def parse() -> argparse.Namespace:
    """Parses the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", nargs="?", choices=tuple(STAGES), metavar="STAGE", help=f"{', '.join(STAGES)} (default: all)")
    parser.add_argument("--out", type=Path, required=True, help="folder that gets gpu-STAGE.json")
    parser.add_argument("--data", type=Path, default=Path("data/benchmark"), help="folder for the videos that are made")
    parser.add_argument("--budget", type=float, default=170.0, metavar="S", help="seconds of each stage (default 170)")
    parser.add_argument("--rehearse", action="store_true", help="small stand-ins for everything that needs a GPU")
    return parser.parse_args()


def run_all(args: argparse.Namespace) -> int:
    """Runs every stage, whatever became of the one before; returns how many failed."""
    failed = []
    for name in STAGES:
        command = [sys.executable, "-u", __file__, name, *sys.argv[1:]]
        try:
            code = subprocess.run(command, timeout=args.budget + GRACE_S, check=False).returncode
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
        if code:
            failed.append(f"{name} ({code})")
    if failed:
        print(f"error: failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
