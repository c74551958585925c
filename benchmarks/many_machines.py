"""Compares `prepare scan --ray` with `--jobs`, both on this machine: what handing work out by Ray costs.

    python benchmarks/many_machines.py                        # generated videos, many times over by hard links
    python benchmarks/many_machines.py --list val.txt --data-root /data/kinetics400/val

The rounds take turns. Frames per second are what the commands print: from the first item to the last, with the start of
processes, and of `--ray` with the connection to a cluster that runs already. Needs the extra `ray`.
"""

import argparse
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from generated import make_videos
from machine import describe_machine
from result_file import write_result
from subprocesses import run_python

from c2d_fast.formats.manifest_file import table_path

FORMAT = "c2d_fast.benchmark.many-machines/1"
RESULT = Path(__file__).parent / "results" / "many-machines-cpu.json"
"""What docs/many-machines.md shows."""


def table(result: dict[str, Any]) -> str:
    """Returns the figures as a table of Markdown, and what they were measured on."""
    lines = ["| scan | frames/s | lowest to highest | of `--jobs` |", "|---|---|---|---|"]
    for row in result["rows"]:
        low, high = min(row["frames_per_s"]), max(row["frames_per_s"])
        ratio = f"{row['of_jobs']:.3f}"
        lines.append(f"| `{row['name']}` | {row['median']:.0f} | {low:.0f} to {high:.0f} | {ratio} |")
    machine = result["machine"]
    rounds = len(result["rows"][0]["frames_per_s"])
    said = f"{result['videos']} videos, {rounds} rounds in turns; the ratio is the median of each round's. "
    return "\n".join([*lines, "", said + f"{machine['cpus']} cores of {machine['cpu']}, Ray {result['ray']}; no GPU."])


TABLES = {"many-machines": table}


def main() -> None:
    """Measures and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", type=Path, help="a list of videos (default: generated ones)")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--count", type=int, default=400, help="videos, 300 frames of 340x256 each, eight of them different")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--data", type=Path, default=Path("data/benchmark"))
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    import ray
    from ray.cluster_utils import Cluster

    if not args.list:
        args.list, args.data_root = linked_videos(args.data, args.count)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": args.jobs, "include_dashboard": False})
    try:
        ways = {f"--jobs {args.jobs}": ["--jobs", args.jobs], "--ray ADDRESS": ["--ray", cluster.address]}
        rates: dict[str, list[float]] = {name: [] for name in ways}
        with tempfile.TemporaryDirectory() as folder:
            for number in range(args.rounds):
                for name, flags in ways.items():
                    out = Path(folder, "m.npz")
                    rates[name].append(scan(args, out, flags))
                    print(f"round {number + 1}: {name}: {rates[name][-1]:.0f} frames/s", flush=True)
                    out.unlink()
                    table_path(out).unlink()
                write_result(args.out, result_of(args, rates, ray.__version__))
    finally:
        cluster.shutdown()
    print(table(result_of(args, rates, ray.__version__)))


def scan(args: argparse.Namespace, out: Path, flags: list[Any]) -> float:
    """Returns the frames per second that a scan prints."""
    where = ["--data-root", args.data_root] if args.data_root else []
    said = run_python("-m", "c2d_fast.prepare", "scan", "--list", args.list, *where, "--out", out, *flags)
    found = re.search(r"frames read in [\d.]+ s: (\d+) frames/s", said)
    if not found:
        sys.exit(f"error: no rate in what the scan printed: {said[:500]}")
    return float(found[1])


def linked_videos(data: Path, count: int) -> tuple[Path, Path]:
    """Returns a list of so many names of eight generated videos, and its root."""
    paths = make_videos(data / "340x256", 8)
    folder = data / f"linked-{count}"
    folder.mkdir(exist_ok=True)
    for number in range(count):
        if not (link := folder / f"{number}.mp4").exists():
            os.link(paths[number % 8], link)
    listed = data / f"linked-{count}.txt"
    listed.write_text("".join(f"{number}.mp4 0\n" for number in range(count)))
    return listed, folder


def result_of(args: argparse.Namespace, rates: dict[str, list[float]], version: str) -> dict[str, Any]:
    """Returns what was measured so far as plain values."""
    jobs = next(iter(rates.values()))
    rows = [
        {
            "name": name,
            "median": statistics.median(values),
            "frames_per_s": values,
            "of_jobs": round(statistics.median(a / b for a, b in zip(values, jobs, strict=True)), 4),
        }
        for name, values in rates.items()
    ]
    videos = len(args.list.read_text().splitlines())
    return {"format": FORMAT, "machine": describe_machine(), "ray": version, "videos": videos, "jobs": args.jobs, "rows": rows}


if __name__ == "__main__":
    main()
