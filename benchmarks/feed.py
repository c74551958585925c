"""How fast one process cuts clips out of files for NVDEC: with the packet table and a header of our own, and as it was before.

    python benchmarks/feed.py

Calls the loader's source as a worker does, in one process and without DALI: draw the sample, read its packets from the page
cache, write the small file. Before: the file opened as a container, and the packets written by FFmpeg's muxer. In turns, round
after round, on the same clips; the small files of both decode to the same frames, which is compared first. Writes JSON.
"""

import argparse
import dataclasses
import io
import json
import statistics
import time
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np
from machine import describe_machine
from stored import Form, make_forms

from c2d_fast.files import atomic_write
from c2d_fast.loading.plan import TrainPlan
from c2d_fast.loading.source import ClipSource
from c2d_fast.recipe import load_pipe

FORMAT = "c2d_fast.benchmark.feed/1"
HERE = Path(__file__).parent


class Turn:
    """What DALI tells a source."""

    iteration = 0
    idx_in_batch = 0


def main() -> None:
    """Measures and writes the JSON."""
    args = parse()
    pipe = load_pipe(HERE.parent / "dali_pipes" / "k400_8x8.py")
    rows = []
    for form in make_forms(args, ["stored", "intra"]):
        source = make_source(form, pipe.recipe)
        same = compare(source, args.clips)
        rates: dict[str, list[float]] = {"before": [], "now": [], "now, cropping cleared": []}
        for _ in range(args.rounds):
            with before():
                rates["before"].append(rate(source, args.clips))
            rates["now"].append(rate(source, args.clips))
            rates["now, cropping cleared"].append(rate(dataclasses.replace(source, clear_cropping=True), args.clips))
        medians = {name: statistics.median(values) for name, values in rates.items()}
        rows.append(
            {
                "form": form.name,
                "facts": form.facts(),
                "same_frames": same,
                "clips_per_s": {name: round(value, 1) for name, value in medians.items()},
                "rounds": {name: [round(value, 1) for value in values] for name, values in rates.items()},
                "ratio": round(medians["now"] / medians["before"], 2),
            }
        )
        print(f"{form.name}: " + ", ".join(f"{name} {value:.0f} clips/s" for name, value in medians.items()))
    result = {"format": FORMAT, "date": time.strftime("%Y-%m-%d"), "machine": describe_machine(), "processes": 1, "rows": rows}
    with atomic_write(args.out) as partial:
        partial.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {args.out}")


def parse() -> argparse.Namespace:
    """Parses the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=200, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=4, help="videos")
    parser.add_argument("--data", type=Path, default=Path("data/benchmark"), help="folder for what is made")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "feed-cpu.json")
    args = parser.parse_args()
    # 340x256 H.264 as it is downloaded, and transcoded.
    args.list, args.data_root, args.codec, args.size, args.gop, args.frames = None, None, "h264", (340, 256), 250, 300
    return args


def make_source(form: Form, recipe: Any) -> ClipSource:
    """Returns a source of training clips as nvdec's workers have it."""
    manifest = dataclasses.replace(form.manifest, kept=np.tile(form.manifest.kept, 64), broken={})
    plan = TrainPlan(videos=manifest.videos(), clip=recipe.clip, crop=recipe.crop, seed=0, batch_size=1)
    return ClipSource(plan=plan, decoder="nvdec", device="gpu", decoder_threads=1)


def before() -> Any:
    """Returns a context in which no small file is written by ourselves."""
    return mock.patch("c2d_fast.video.reader.small_file", return_value=None)


def rate(source: ClipSource, clips: int) -> float:
    """Returns clips a second."""
    turn, started_s = Turn(), time.perf_counter()
    for number in range(clips):
        turn.iteration = number
        source(turn)
    return clips / (time.perf_counter() - started_s)


def compare(source: ClipSource, clips: int) -> int:
    """Decodes some clips of both ways with FFmpeg; returns how many were compared."""
    numbers = range(0, clips, max(clips // 8, 1))
    for number in numbers:
        now = frames(source, number)
        with before():
            assert np.array_equal(now, frames(source, number)), f"clip {number} differs"
    return len(numbers)


def frames(source: ClipSource, number: int) -> Any:
    """Returns the frames that a sample's small file decodes to: uint8 [F, H, W, C]."""
    turn = Turn()
    turn.iteration = number
    data, wanted, *_ = source(turn)
    with av.open(io.BytesIO(data.tobytes())) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack([images[at] for at in wanted])


if __name__ == "__main__":
    main()
