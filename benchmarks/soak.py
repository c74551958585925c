"""Measures whether a long training run keeps what it takes: memory and open files of all its processes over 10,000 steps.

    python benchmarks/soak.py                    # the train command on tiny clips, with validation and checkpoints

Memory is the processes' RSS, added up: pages that they share count for each, and other programs do not change it. The slope is
that of a line fitted to the samples after a warm-up, in which caches and allocators fill.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from subprocesses import LIMIT_S, end_group

HERE = Path(__file__).parent
FORMAT = "c2d_fast.benchmark.soak/1"
_STEPS_PER_EPOCH, _VIDEOS = 500, 20


def main() -> None:
    """Measures and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000, help=f"a multiple of {_STEPS_PER_EPOCH}")
    parser.add_argument(
        "--folder", type=Path, default=Path("data/soak"), help="for videos and the run, which must not be there yet"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results" / "soak-cpu.json")
    args = parser.parse_args()
    from machine import describe_machine

    result = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        **measure(args.steps, args.folder),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"{result['steps']} steps, {result['steps_per_s']:.1f} a second: {result['memory_mb'][0]:.1f} MB after the warm-up, "
        f"{result['memory_mb'][-1]:.1f} MB at last, slope {result['slope_kb_per_1000_steps']:+.0f} kB per 1,000 steps; open "
        f"files {min(result['open_files'])} to {max(result['open_files'])}; written to {args.out}"
    )


def measure(steps: int, folder: Path) -> dict[str, Any]:
    """Trains so many steps in a process of its own and returns the figures."""
    from machine import held_by

    lists, run = _make_lists(folder), folder / "run"
    command = [sys.executable, "-m", "c2d_fast.train", "--pipe", str(HERE / "soak_pipe.py"), "--out", str(run)]
    command += ["--train-list", str(lists[0]), "--val-list", str(lists[1]), "--batch-size", "1", "--workers", "1"]
    command += ["--epochs", str(steps // _STEPS_PER_EPOCH), "--checkpoint-steps", "200"]
    samples: list[tuple[int, float, int]] = []
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, process_group=0,
                                   env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
        try:
            began_s = time.monotonic()
            while process.poll() is None and time.monotonic() - began_s < LIMIT_S:
                time.sleep(2)
                step = _last_step(run)
                if step > (samples[-1][0] if samples else 0):
                    samples.append((step, *held_by(process.pid, "Rss")))
        finally:
            end_group(process)
    if process.returncode != 0:
        sys.exit(f"error: the run ended with exit code {process.returncode}; see {folder / 'log.txt'}")
    kept = [sample for sample in samples if 0.2 * steps <= sample[0] < steps]
    numbers, memory = np.array([sample[0] for sample in kept]), np.array([sample[1] for sample in kept])
    return {
        "steps": steps,
        "steps_per_s": round(steps / (time.monotonic() - began_s), 2),
        "warmup_steps": steps // 5,
        "slope_kb_per_1000_steps": round(1e6 * float(np.polyfit(numbers, memory, 1)[0]), 1),
        "at_steps": numbers.tolist(),
        "memory_mb": [round(value, 2) for value in memory.tolist()],
        "open_files": [sample[2] for sample in kept],
    }


def _make_lists(folder: Path) -> tuple[Path, Path]:
    import av

    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0)
    for number in range(_VIDEOS):
        with av.open(str(folder / f"{number}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for _ in range(12):
                image = noise.integers(0, 256, (48, 64, 3), dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    lists = folder / "train.txt", folder / "val.txt"
    for path, count in zip(lists, (_STEPS_PER_EPOCH, _VIDEOS), strict=True):
        path.write_text("".join(f"{place % _VIDEOS}.mp4 {place % 2}\n" for place in range(count)))
    return lists


def _last_step(run: Path) -> int:
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0


if __name__ == "__main__":
    main()
