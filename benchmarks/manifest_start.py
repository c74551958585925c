"""Measures how long a run over a manifest of 240,000 videos takes to start, and how much memory.

    python benchmarks/manifest_start.py

The manifest is made up: none of its files exists, so whatever opened one would fail. Measured are: the manifest alone, from the
file to a plan's first sample; and `python -m c2d_fast.train` from the command to the line that it prints before its first step,
with PyTorch and DALI loaded, the model built and the loader's processes running, beside the same for 64 videos: what a run
takes in any case. Memory is the peak of the main process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from machine import describe_machine
from subprocesses import end_group, run_python

from c2d_fast.formats.manifest_file import ManifestFile
from c2d_fast.lists.listing import read_list
from c2d_fast.loading.plan import TrainPlan
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.recipe import Clip, Crop
from c2d_fast.video.facts import DTYPE, Facts, to_table

FORMAT = "c2d_fast.benchmark.manifest_start/1"
PIPE = Path(__file__).parents[1] / "dali_pipes" / "k400_8x8.py"
_START_LIMIT_S = 1800.0


def main() -> None:
    """Measures and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=240_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "manifest-start.json")
    parser.add_argument("--only-read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only_read:
        print(json.dumps(read(args.only_read)))
        return
    rounds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder, "train.npz")
        make_manifest(manifest, args.videos)
        size = manifest.stat().st_size
        small = Path(folder, "small.npz")
        make_manifest(small, 64)
        for number in range(args.rounds):
            command = [__file__, "--only-read", str(manifest)]
            alone = json.loads(run_python(*command))
            rounds.append(alone | train(manifest, Path(folder, f"run{number}"), ""))
            rounds[-1] |= train(small, Path(folder, f"small{number}"), "_of_64_videos")
            print(", ".join(f"{name} {value:.2f}" for name, value in rounds[-1].items()))
    median = {name: round(statistics.median(r[name] for r in rounds), 3) for name in rounds[0]}
    result = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "videos": args.videos,
        "manifest_mb": round(size / 1e6, 2),
        "median": median,
        "rounds": rounds,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{args.videos} videos, {size / 1e6:.1f} MB; medians: {median}; written to {args.out}")


def make_manifest(path: Path, count: int) -> None:
    """Writes a manifest such as a scan of Kinetics-400 might: sizes, lengths and one broken video in 500."""
    rng = np.random.default_rng(0)
    like = Facts(
        frames=300, packets=300, promised_frames=300, width=340, height=256, coded_width=352, coded_height=256, fps=29.97,
        constant_rate=True, codec="h264", container="mov", pix_fmt="yuv420p", full_range=False, matrix=2, primaries=2,
        transfer=2, rotation=0, interlaced=False, audio=True, key_frames=2, longest_gop=250, reordered=True, disposable=130,
        closed_gops=True, in_order=True,
    )  # fmt: skip
    facts = np.repeat(to_table([like]), count)
    facts["frames"] = facts["packets"] = facts["promised_frames"] = rng.choice([250, 299, 300, 180], count)
    facts["width"] = rng.choice([340, 454, 256, 144], count)
    broken = rng.random(count) < 0.002
    facts[broken] = np.zeros((), DTYPE)
    labels = rng.integers(0, 400, count)
    ids = rng.integers(0, 2**62, count)
    videos = tuple(f"train/class number {label}/{i:016x}_000012_000022.mp4" for label, i in zip(labels, ids, strict=True))
    ManifestFile(
        list_path="/data/kinetics400/train.txt",
        list_sha256="0" * 64,
        root=str(path.parent),
        videos=videos,
        labels=labels,
        classes=None,
        size=rng.integers(2 * 10**5, 2 * 10**6, count),
        mtime_ns=rng.integers(15 * 10**17, 16 * 10**17, count),
        depth=np.full(count, 2, np.uint8),
        facts=facts,
        reasons=tuple("does not decode (Invalid data found when processing input)" if b else "" for b in broken),
    ).write(path)


def read(path: Path) -> dict[str, float]:
    """Reads the manifest up to a plan's first sample; in a process of its own."""
    started_s = time.perf_counter()
    manifest = read_manifest(read_list(path, None, 400), allow_missing=False, jobs=1)
    plan = TrainPlan(videos=manifest.videos(), clip=Clip(num_frames=8, interval=8), crop=Crop(), seed=0, batch_size=32)
    plan.sample(0, 0)
    return {"read_s": time.perf_counter() - started_s}


def train(manifest: Path, out: Path, name: str) -> dict[str, float]:
    """Starts a training run and ends it where its first step would begin; name ends the results' names."""
    command = [sys.executable, "-m", "c2d_fast.train", "--pipe", str(PIPE), "--train-list", str(manifest), "--out", str(out)]
    started_s = time.perf_counter()
    # What it says on stderr goes into the same pipe: one that nobody reads would fill up.
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen([*command, "--weights", "none"], text=True, process_group=0, **pipes)  # type: ignore[call-overload]
    limit, said = threading.Timer(_START_LIMIT_S, end_group, [process]), []
    limit.start()
    try:
        for line in process.stdout:
            said.append(line)
            if line.startswith("training ") and "run folder" in line:
                seconds = time.perf_counter() - started_s
                status = Path(f"/proc/{process.pid}/status").read_text()
                kilobytes = next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmHWM"))
                return {f"train_start{name}_s": seconds, f"train_start{name}_mb": kilobytes * 1024 / 1e6}
    finally:
        limit.cancel()
        end_group(process)
    sys.exit(f"error: the run ended before it began, or did not within {_START_LIMIT_S:.0f} s: {''.join(said[-5:])}")


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the start, not CUDA's
    main()
