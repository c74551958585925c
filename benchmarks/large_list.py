"""Measures what a manifest of ten million videos takes: to be written, read, shown, and to start training from.

    python benchmarks/large_list.py                       # 10,000,000 rows, about 20 minutes, 3 GB of disk
    python benchmarks/large_list.py --rows 100000         # the same, small

The manifest is made up: none of its files exists, so whatever opened one would fail. Each measurement runs in a process of its
own, whose peak memory is what the system says of it (VmHWM). `start` is what the train command does with the list, by the same
functions, from the file to the first samples asked for, without PyTorch and DALI where they are not needed; `train_start` is
the command `python -m c2d_fast.train`, to the line that it prints before its first step, with both, the model and the workers.
The packet table has an index of all videos, and packets of a thousand of them: opening it reads the index only.
"""

import argparse
import contextlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from large_list_start import plan_of, take_first_samples
from machine import describe_host
from made_up_list import CLASSES, made_up, make_parts, make_table
from manifest_start import train
from result_file import write_result
from subprocesses import run_python

from c2d_fast.formats.manifest_file import read_manifest_file, table_path

FORMAT = "c2d_fast.benchmark.large_list/1"
HERE = Path(__file__).parent
RESULT = HERE / "results" / "large-list-cpu.json"
"""What docs/lists.md shows."""
STEPS = {
    "write": "writing the manifest",
    "read": "reading all of the manifest",
    "start": "start of training",
    "start_with_table": "start of training, with a packet table",
    "epoch_change": "the next epoch's order",
    "resume": "start in mid-epoch, 1 % of the videos left out",
    "score_start": "start of scoring a list of 1 % of the rows",
    "worker": "a worker, to its first sample",
    "show": "`prepare show`",
    "show_png": "`prepare show --png`",
    "merge": "`prepare merge` of four parts, with packet tables",
    "train_start": "`python -m c2d_fast.train`, to its first step",
}
"""What is measured, as the table calls it."""


def table(result: dict[str, Any]) -> str:
    """Returns the figures as a table of Markdown, and what they were measured on."""
    lines = [f"| {result['rows']:,} videos | seconds | peak memory, GB |", "|---|---|---|"]
    for name, title in STEPS.items():
        if found := result["steps"].get(name):
            lines.append(f"| {title} | {found['seconds']:.1f} | {found['peak_mb'] / 1e3:.2f} |")
    machine, worker = result["machine"], result["steps"].get("worker", {})
    shared = (
        f" A worker holds {worker['private_mb']:.0f} MB of its own, and reads the list in memory that all share"
        if worker
        else ""
    )
    shared += f" ({worker['shared_mb'] / 1e3:.2f} GB)." if worker else ""
    size = f"The manifest has {result['manifest_mb']:,.0f} MB."
    return "\n".join([*lines, "", f"Measured on {result['date']} on {machine['cpu']}, {machine['cpus']} CPUs. {size}{shared}"])


TABLES = {"large-list": table}


def main() -> None:
    """Measures and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--only", nargs="*", choices=STEPS, help="measure these only; of a manifest in --folder")
    parser.add_argument("--folder", type=Path, help="keep the manifest there, and take one that is there")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        assert args.folder
        print(json.dumps(_measured(_CALLS[args.step], args)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        args.folder = args.folder or Path(temporary)
        _run(args)


def _run(args: argparse.Namespace) -> None:
    args.folder.mkdir(parents=True, exist_ok=True)
    large = args.folder / "train.npz"
    words = ["--folder", args.folder, "--rows", args.rows, "--step"]
    if not large.exists():
        run_python(__file__, *words, "make")
    result: dict[str, Any] = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_host(),
        "rows": args.rows,
    }
    result["steps"] = {}
    wanted = args.only or list(STEPS)
    for name in STEPS:
        if name in wanted:
            found = (
                _train_start(large, args.folder) if name == "train_start" else _last_line(run_python(__file__, *words, name))
            )
            result["steps"][name] = {key: round(value, 3) for key, value in found.items()}
            print(f"{name}: {result['steps'][name]}")
            result["manifest_mb"] = round(large.stat().st_size / 1e6, 1)
            write_result(args.out, result)
    print(f"written to {args.out}")


def _last_line(said: str) -> dict[str, float]:
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def _measured(call: Callable[[argparse.Namespace], dict[str, float] | None], args: argparse.Namespace) -> dict[str, float]:
    base_mb, started_s = _peak_mb(), time.perf_counter()
    more = call(args) or {}
    return {"seconds": time.perf_counter() - started_s, "peak_mb": _peak_mb(), "before_mb": base_mb} | more


def _peak_mb() -> float:
    return 1024e-6 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index]


def _make(args: argparse.Namespace) -> None:
    """Makes the manifests, of training and of scoring."""
    for name, rows, seed in (
        ("val.npz", max(args.rows // 100, 20 * CLASSES), 1),
        ("train.npz", args.rows, 0),
    ):  # all classes are there
        np.savez_compressed(args.folder / name, **made_up(rows, args.folder, seed))  # type: ignore[arg-type]


def _write(args: argparse.Namespace) -> dict[str, float]:
    """Measures how long a manifest that has been read takes to be written."""
    path = args.folder / "train.npz"
    made = read_manifest_file(path)
    started_s = time.perf_counter()
    made.write(args.folder / "again.npz")
    seconds = time.perf_counter() - started_s
    same = zlib.crc32((args.folder / "again.npz").read_bytes()) == zlib.crc32(path.read_bytes())
    assert same, "a manifest that was read and written is another"
    (args.folder / "again.npz").unlink()
    return {"seconds": seconds}


def _read(args: argparse.Namespace) -> None:
    read_manifest_file(args.folder / "train.npz")


def _start(args: argparse.Namespace) -> None:
    _, plan = plan_of(args.folder / "train.npz", train=True)
    take_first_samples(plan, 0)


def _start_with_table(args: argparse.Namespace) -> dict[str, float]:
    packets = table_path(args.folder / "train.npz")
    if not packets.exists():
        run_python(__file__, "--folder", args.folder, "--rows", args.rows, "--step", "make_table")
    started_s = time.perf_counter()
    _, plan = plan_of(args.folder / "train.npz", train=True)
    assert plan.videos.packet_table
    take_first_samples(plan, 0)
    packets.rename(args.folder / "aside.npz")
    return {"seconds": time.perf_counter() - started_s}


def _make_table(args: argparse.Namespace) -> None:
    make_table(read_manifest_file(args.folder / "train.npz"), table_path(args.folder / "train.npz"))


def _epoch_change(args: argparse.Namespace) -> dict[str, float]:
    _, plan = plan_of(args.folder / "train.npz", train=True)
    take_first_samples(plan, 0)
    started_s = time.perf_counter()
    take_first_samples(plan, plan.steps_per_epoch)
    return {"seconds": time.perf_counter() - started_s}


def _resume(args: argparse.Namespace) -> None:
    _, plan = plan_of(args.folder / "train.npz", train=True, resumes=True)
    take_first_samples(plan, 3 * plan.steps_per_epoch + plan.steps_per_epoch // 2)


def _score_start(args: argparse.Namespace) -> None:
    _, plan = plan_of(args.folder / "val.npz", train=False)
    assert plan.num_valid == len(plan.videos)
    take_first_samples(plan, 0)


def _worker(args: argparse.Namespace) -> dict[str, float]:
    """Measures a process that is given a plan, as a loader's worker is."""
    _, plan = plan_of(args.folder / "train.npz", train=True)
    done = subprocess.run([sys.executable, "-c", _WORKER], input=pickle.dumps(plan), stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


_WORKER = """
import json, pickle, re, sys, time
started_s = time.perf_counter()
plan = pickle.load(sys.stdin.buffer)
for step in range(8):
    for slot in range(plan.batch_size):
        plan.videos.location(plan.sample(step, slot).index)
seconds = time.perf_counter() - started_s
text = open("/proc/self/smaps_rollup").read()
held = {key: 1024e-6 * int(re.search(rf"^{key}:\\s+(\\d+)", text, re.M)[1]) for key in ("Private_Dirty", "Private_Clean")}
arrays = [a for a in vars(plan.videos).values() if hasattr(a, "nbytes")]
peak = 1024e-6 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
shared = sum(a.nbytes for a in arrays) / 1e6
print(json.dumps({"seconds": seconds, "peak_mb": peak, "private_mb": sum(held.values()), "shared_mb": shared}))
"""


def _show(args: argparse.Namespace, *words: str) -> None:
    _prepare("show", str(args.folder / "train.npz"), *words)


def _prepare(*words: str) -> None:
    from c2d_fast.prepare.command_line import main as prepare

    sys.argv = ["prepare", *words]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        prepare()


def _show_png(args: argparse.Namespace) -> None:
    _show(args, "--png", str(args.folder / "show.png"))


def _merge(args: argparse.Namespace) -> dict[str, float]:
    merged = args.folder / "merged" / "train.npz"
    run_python(__file__, "--folder", args.folder, "--rows", args.rows, "--step", "make_parts")
    started_s = time.perf_counter()
    _prepare("merge", "--out", str(merged))
    seconds = time.perf_counter() - started_s
    assert merged.read_bytes() == (args.folder / "train.npz").read_bytes()
    shutil.rmtree(merged.parent)
    return {"seconds": seconds}


def _make_parts(args: argparse.Namespace) -> None:
    (args.folder / "merged").mkdir()
    make_parts(read_manifest_file(args.folder / "train.npz"), args.folder / "merged" / "train.npz", 4)


def _train_start(manifest: Path, folder: Path) -> dict[str, float]:
    found = train(manifest, folder / f"run-{time.time_ns()}", "")
    return {"seconds": found["train_start_s"], "peak_mb": found["train_start_mb"]}


_CALLS: dict[str, Callable[[argparse.Namespace], dict[str, float] | None]] = {
    "write": _write,
    "read": _read,
    "start": _start,
    "start_with_table": _start_with_table,
    "epoch_change": _epoch_change,
    "resume": _resume,
    "score_start": _score_start,
    "worker": _worker,
    "show": _show,
    "show_png": _show_png,
    "merge": _merge,
    "make": _make,
    "make_parts": _make_parts,
    "make_table": _make_table,
}


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the start, not CUDA's
    main()
