"""Finds planted events in a generated video of hours with predict --segments: how exactly, how fast, in how much memory.

    python benchmarks/long_video.py                 # three hours, 40 events; written into benchmarks/results
    python benchmarks/long_video.py --minutes 10 --events 5 --out /tmp/long.json

The model is the demo's network with a classifier that tells the events' colour: it is about speed and time, not about accuracy.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import torch
from machine import describe_machine
from result_file import write_result

from c2d_fast.model import checkpoint
from c2d_fast.model.c2d import C2D
from c2d_fast.recipe import load_pipe

FORMAT = "c2d_fast.benchmark.long_video/1"
HERE = Path(__file__).parent
RESULT = HERE / "results" / "long-video-cpu.json"
GREY, RED = (90, 90, 90), (220, 30, 30)
WINDOW_S, STRIDE_S = 2.0, 0.5
NEAR_S = 1.0
_BORDERS = 2


def make_events(count: int, duration_s: float, seed: int = 0) -> list[tuple[float, float]]:
    """Returns events of 5 to 40 seconds, apart by as much at least, in multiples of a tenth of a second."""
    rng = np.random.default_rng(seed)
    slot_s = duration_s / count
    lengths = rng.uniform(min(5, slot_s / 4), min(40, slot_s / 2), count)
    starts = np.arange(count) * slot_s + rng.uniform(0.25, 0.5, count) * (slot_s - lengths)
    return [(round(float(start), 1), round(float(start + length), 1)) for start, length in zip(starts, lengths, strict=True)]


def make_video(path: Path, duration_s: float, events: list[tuple[float, float]], *, rate: int, group: int) -> None:
    """Encodes grey noise that is red in the events: H.264, 320 x 240."""
    rng = np.random.default_rng(1)
    noise = rng.integers(-20, 20, (16, 240, 320, 3), dtype=np.int16)
    pictures = {colour: np.clip(noise + np.array(colour), 0, 255).astype(np.uint8) for colour in (GREY, RED)}
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"g": str(group), "preset": "ultrafast", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(int(duration_s * rate)):
            is_event = any(start <= number / rate < stop for start, stop in events)
            picture = pictures[RED if is_event else GREY][number % len(noise)]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def make_model(path: Path) -> None:
    """Writes a checkpoint of the demo's network that tells red from grey: the trunk is random, the classifier is solved."""
    torch.manual_seed(0)
    recipe = load_pipe("demo").recipe.with_num_classes(2)
    model = C2D(recipe.model).eval()
    clips = torch.empty(2, recipe.clip.num_frames, recipe.crop.size, recipe.crop.size, 3, dtype=torch.uint8)
    for clip, colour in zip(clips, (GREY, RED), strict=True):
        clip[:] = torch.tensor(colour, dtype=torch.uint8)
    with torch.no_grad():
        grey, red = model.features(clips)
        direction = (red - grey) / (red - grey).square().sum()
        model.fc.weight[:] = 12 * torch.stack([-direction, direction])
        model.fc.bias[:] = -model.fc.weight @ ((red + grey) / 2)
    content = {"model": model.state_dict(), "optimizer": {}, "scaler": {}, "progress": {}, "recipe": recipe.as_dict()}
    checkpoint.save(content | {"classes": ["nothing", "event"]}, path)


def predict(video: Path, model: Path, out: Path, *more: str) -> dict[str, Any]:
    """Runs the command; returns the time that it took, and its memory as it went on."""
    words = [sys.executable, "-m", "c2d_fast.predict", video, "--pipe", "demo", "--checkpoint", model, "--segments", out]
    words += ["--window", WINDOW_S, "--stride", STRIDE_S, "--set", "model.num_classes=2", *more]
    started_s, memory = time.perf_counter(), list[int]()
    with subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                memory.append(watched.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.25)
        said, problem = process.communicate()
    if process.returncode:
        sys.exit(problem)
    times = re.search(r"([\d.]+) times real time", said)
    middle = memory[len(memory) // 3 : len(memory) // 3 + max(len(memory) // 10, 1)]
    last = memory[-max(len(memory) // 10, 1) :]
    return {
        "seconds": time.perf_counter() - started_s,
        "times_real_time": float(times[1]) if times else None,
        "mb_after_a_third": float(np.median(middle)) / 1e6,
        "mb_at_the_end": float(np.median(last)) / 1e6,
        "mb_at_most": max(memory) / 1e6,
    }


def compare(out: Path, events: list[tuple[float, float]]) -> dict[str, Any]:
    """Returns how many events have a segment whose borders are both near."""
    rows = [row for row in json.loads(out.read_text())["segments"] if row["class"] == "event"]
    found = np.array([(row["start"], row["end"]) for row in rows]).reshape(-1, _BORDERS)
    errors = [float(np.abs(found - event).max(1).min()) if len(found) else float("inf") for event in events]
    return {
        "segments": len(rows),
        "found_within_1_s": sum(error <= NEAR_S for error in errors),
        "largest_error_s": max(errors),
        "median_error_s": float(np.median(errors)),
    }


def table(result: dict[str, Any]) -> str:
    """Returns the figures as a table of Markdown."""
    lines = [
        "| video | events found within 1 s | largest error | times real time | memory after a third, at the end |",
        "|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {row['what']} | {row['found_within_1_s']} of {result['events']} | {row['largest_error_s']:.2f} s | "
            f"{row['times_real_time']:.0f} | {row['mb_after_a_third']:.0f} MB, {row['mb_at_the_end']:.0f} MB |"
        )
    machine = result["machine"]
    said = (
        f"A video of {result['minutes'] / 60:g} hours, 320 x 240 at {result['rate']} frames/s, windows of {WINDOW_S:g} s every "
        f"{STRIDE_S:g} s, the demo's network (ResNet-18, 2 frames of 56 pixels)."
    )
    return "\n".join([*lines, "", f"{said} Measured on {result['date']} on {machine['cpu']}, {machine['cpus']} CPUs."])


TABLES = {"long-video": table}
"""Marks of docs/long-videos.md -> what stands between them."""


def main() -> None:
    """Measures, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=180.0)
    parser.add_argument("--events", type=int, default=40)
    parser.add_argument("--rate", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    duration_s = 60 * args.minutes
    events = make_events(args.events, duration_s)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model.pt")
        for what, group, more in (
            ("groups of 50 frames", 50, ()),
            ("the same, key frames only", 50, ("--key-frames",)),
            ("key frames alone (all-intra)", 1, ()),
        ):
            video = folder / f"{group}.mp4"
            if not video.exists():
                make_video(video, duration_s, events, rate=args.rate, group=group)
            run = predict(video, folder / "model.pt", folder / "out.json", *more)
            rows.append({"what": what, **compare(folder / "out.json", events), **run})
            print(rows[-1], flush=True)
    result = {"format": FORMAT, "date": time.strftime("%Y-%m-%d"), "machine": describe_machine(), "minutes": args.minutes}
    result |= {"events": args.events, "rate": args.rate, "rows": rows}
    write_result(args.out, result)
    print(table(result))


if __name__ == "__main__":
    main()
