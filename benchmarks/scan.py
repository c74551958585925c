"""Compares `prepare scan --depth full` with FFmpeg's own command decoding the same files, one process for each core.

    python benchmarks/scan.py                       # generated videos
    python benchmarks/scan.py --list val.txt --data-root /data/kinetics400/val

Needs the ffmpeg command, which nothing else here does. The rounds take turns, so that a machine's moods meet all alike; whole
commands are timed, with their start.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from generated import make_videos
from machine import describe_machine
from subprocesses import run

from c2d_fast.formats.manifest_file import read_manifest_file
from c2d_fast.lists.listing import read_list

FORMAT = "c2d_fast.benchmark.scan/1"
FFMPEG = {"ffmpeg": [], "ffmpeg -threads 1": ["-threads", "1"]}


def main() -> None:
    """Measures and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", type=Path, help="a list of videos (default: generated ones)")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--count", type=int, default=24, help="generated videos, 300 frames of 340x256 each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path("data/benchmark"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "scan-cpu.json")
    args = parser.parse_args()
    if not shutil.which("ffmpeg"):
        sys.exit("error: there is no ffmpeg command; install the distribution's")
    if not args.list:
        paths = make_videos(args.data / "340x256", args.count)
        args.list = args.data / "340x256.txt"
        args.list.write_text("".join(f"340x256/{path.name} 0\n" for path in paths))
    listing = read_list(args.list, args.data_root, None)
    files = [listing.file(i) for i in range(len(listing))]
    jobs = len(os.sched_getaffinity(0))
    seconds: dict[str, list[float]] = {name: [] for name in ("scan", *FFMPEG)}
    for path in files:
        path.read_bytes()  # into the page cache, for all alike
    frames = 0
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            manifest = Path(folder, "m.npz")
            command = [sys.executable, "-m", "c2d_fast.prepare", "scan", "--list", args.list, "--out", manifest, "--jobs", jobs]
            command += ["--data-root", args.data_root] if args.data_root else []
            seconds["scan"].append(timed(lambda command=command: run(command)))
            facts = read_manifest_file(manifest)
            if any(facts.reasons):
                sys.exit(f"error: {sum(map(bool, facts.reasons))} of the videos are broken: nothing can be compared")
            frames = int(facts.facts["frames"].sum())
        for name, flags in FFMPEG.items():
            with ThreadPoolExecutor(jobs) as pool:
                commands = [["ffmpeg", "-nostdin", "-v", "error", *flags, "-i", path, "-f", "null", "-"] for path in files]
                seconds[name].append(timed(lambda pool=pool, commands=commands: list(pool.map(run, commands))))
    write(args.out, listing.summary(), frames, jobs, seconds)


def timed(function: Any) -> float:
    """Returns the seconds that a call takes."""
    started_s = time.perf_counter()
    function()
    return time.perf_counter() - started_s


def write(path: Path, summary: str, frames: int, jobs: int, seconds: dict[str, list[float]]) -> None:
    """Writes the result and prints it."""
    rates = {name: frames / statistics.median(values) for name, values in seconds.items()}
    version = run(["ffmpeg", "-version"]).split()[2]
    result = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine() | {"ffmpeg command": version},
        "list": summary,
        "frames": frames,
        "processes": jobs,
        "seconds": {name: [round(value, 3) for value in values] for name, values in seconds.items()},
        "median_frames_per_s": {name: round(rate, 1) for name, rate in rates.items()},
        "scan_to_ffmpeg": round(rates["scan"] / rates["ffmpeg"], 3),
        "scan_to_ffmpeg_one_thread": round(rates["scan"] / rates["ffmpeg -threads 1"], 3),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    for name, rate in rates.items():
        spread = f"{frames / max(seconds[name]):.0f} to {frames / min(seconds[name]):.0f}"
        print(f"{name:<18} {rate:>8.0f} frames/s ({spread})")
    print(f"scan / ffmpeg: {result['scan_to_ffmpeg']}, / one thread: {result['scan_to_ffmpeg_one_thread']}; written to {path}")


if __name__ == "__main__":
    main()
