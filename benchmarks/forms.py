"""Compares the forms in which a data set can be stored: their bytes and quality, and the clips per second that they bring.

    python benchmarks/forms.py                                          # generated videos
    python benchmarks/forms.py --list val.txt --data-root /data/kinetics400/val --name kinetics

Each form is made by `python -m c2d_fast.prepare transcode`, and read as training reads it: the whole loader of
dali_pipes/k400_8x8.py with the ffmpeg decoder, random 8x8 clips, in turns. Quality is that of the stored frames against the
source's, scaled to the same size (FFmpeg's psnr and ssim filters).
"""

import argparse
import dataclasses
import json
import statistics
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from generated import make_videos
from machine import describe_machine
from subprocesses import run_python

from c2d_fast.commands.dataset import choose_device
from c2d_fast.formats.packet_table import rows_of
from c2d_fast.lists.listing import read_list
from c2d_fast.loading.loader import LoaderOptions, TrainLoader
from c2d_fast.loading.plan import TrainPlan
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.recipe import load_pipe
from c2d_fast.video.examine import examine
from c2d_fast.video.packets import needed_rows

FORMAT = "c2d_fast.benchmark.forms/1"
PIPE = Path(__file__).parents[1] / "dali_pipes" / "k400_8x8.py"
FORMS: dict[str, list[str] | None] = {
    "as downloaded": None,
    "GOP 250, 3 B-frames": ["--gop", "250", "--b-frames", "3"],
    "GOP 16, 2 B-frames": ["--gop", "16", "--b-frames", "2"],
    "GOP 8, 2 B-frames": ["--gop", "8", "--b-frames", "2"],
    "GOP 8, no B-frames": ["--gop", "8", "--b-frames", "0"],
    "GOP 4, no B-frames": ["--gop", "4", "--b-frames", "0"],
    "all-intra": ["--gop", "1"],
    "all-intra, crf 17": ["--gop", "1", "--crf", "17"],
    "HEVC, GOP 8, 2 B-frames": ["--codec", "hevc", "--gop", "8", "--b-frames", "2"],
}


def main() -> None:
    """Measures and writes the JSON."""
    args = parse()
    if not args.list:
        paths = make_videos(args.data / "340x256", args.count)
        args.list = args.data / "forms.txt"
        args.list.write_text("".join(f"340x256/{path.name} 0\n" for path in paths))
    manifests = {name: make(args, name, flags) for name, flags in FORMS.items()}
    rates: dict[str, list[float]] = {name: [] for name in FORMS}
    for number in range(args.rounds):
        for name, manifest in manifests.items():
            rates[name].append(clips_per_s(manifest, args, number))
        print(
            f"round {number + 1} of {args.rounds}: " + ", ".join(f"{name} {values[-1]:.1f}" for name, values in rates.items())
        )
    forms: dict[str, dict[str, Any]] = {}
    source = read_list(manifests["as downloaded"], None, None)
    for name, manifest in manifests.items():
        listing = read_list(manifest, None, None)
        assert listing.scanned is not None
        if any(listing.scanned.reasons):
            sys.exit(f"error: {manifest}: some videos are broken: nothing can be compared")
        quality = [compare(source.file(i), listing.file(i)) for i in range(0, len(listing), args.quality_every)]
        forms[name] = {
            "flags": FORMS[name],
            "bytes_per_video": round(float(listing.scanned.size.mean())),
            "bytes_to_source": round(float(listing.scanned.size.sum() / source.scanned.size.sum()), 3),  # type: ignore[union-attr]
            "decoded_frames_per_clip": round(decoded_per_clip(manifest), 1),
            "psnr_db": round(statistics.mean(q[0] for q in quality), 2) if FORMS[name] else None,
            "ssim": round(statistics.mean(q[1] for q in quality), 4) if FORMS[name] else None,
            "clips_per_s": round(statistics.median(rates[name]), 2),
            "clips_per_s_rounds": [round(rate, 2) for rate in rates[name]],
        }
    result = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "pipe": PIPE.name,
        "decoder": "ffmpeg",
        "workers": args.workers,
        "batch_size": args.batch_size,
        "list": source.summary(),
        "forms": forms,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print("\n".join(table(result)))
    print(f"written to {args.out}")


def parse() -> argparse.Namespace:
    """Parses the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", type=Path, help="a list of videos (default: generated ones)")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--count", type=int, default=12, help="generated videos, 300 frames of 340x256 each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6, help="batches that are timed in a round")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quality-every", type=int, default=1, metavar="N", help="compare the frames of every N-th video")
    parser.add_argument("--data", type=Path, default=Path("data/benchmark"))
    parser.add_argument("--name", default="generated", help="names the forms' folder and the JSON")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.out = args.out or Path(__file__).parent / "results" / f"forms-{args.name}-cpu.json"
    return args


def make(args: argparse.Namespace, name: str, flags: list[str] | None) -> Path:
    """Makes a form of the list and returns its manifest."""
    folder = args.data / f"{args.name} forms"
    folder.mkdir(parents=True, exist_ok=True)
    root = ["--data-root", args.data_root] if args.data_root else []
    if flags is None:
        manifest = folder / "source.npz"
        command = ["scan", "--list", args.list, "--out", manifest, *root]
    else:
        manifest = folder / name / f"{args.list.stem}.npz"
        command = ["transcode", "--list", args.list, "--out", folder / name, *root, *flags]
    run_python("-m", "c2d_fast.prepare", *command)
    return manifest


def clips_per_s(manifest: Path, args: argparse.Namespace, seed: int) -> float:
    """Reads random clips as training does, and returns how many a second after a warm-up of two batches."""
    pipe = load_pipe(PIPE)
    found = read_manifest(read_list(manifest, None, None), allow_missing=False, jobs=1)
    copies = -(-(args.steps + 4) * args.batch_size // len(found.kept))
    repeated = dataclasses.replace(found, kept=np.tile(found.kept, copies), broken={})
    plan = TrainPlan(
        videos=repeated.videos(), clip=pipe.recipe.clip, crop=pipe.recipe.crop, seed=seed, batch_size=args.batch_size
    )
    options = LoaderOptions(device=choose_device(), decoder="ffmpeg", workers=args.workers, decoder_threads=1)
    batches = TrainLoader(pipe.train_pipe, plan, options, BadVideos(repeated, (0.0, False), "use others")).epoch(0)
    for _ in range(2):
        next(batches)
    started_s = time.perf_counter()
    for _ in range(args.steps):
        next(batches)
    return args.steps * args.batch_size / (time.perf_counter() - started_s)


def decoded_per_clip(manifest: Path, draws: int = 50) -> float:
    """Returns how many frames are decoded for a clip on average, counted on the packets of the files."""
    listing = read_list(manifest, None, None)
    found = read_manifest(listing, allow_missing=False, jobs=1)
    recipe = load_pipe(PIPE).recipe
    plan = TrainPlan(videos=found.videos(), clip=recipe.clip, crop=recipe.crop, seed=0, batch_size=1)
    packets = [examine(listing.file(i)) for i in range(len(listing))]
    counts = []
    for step in range(draws * len(listing)):
        sample = plan.sample(step, 0)
        wanted, examined = np.unique(sample.frames), packets[sample.index]
        if examined.facts.entries:
            counts.append(sum(map(len, needed_rows(rows_of(examined), wanted))))
        else:
            counts.append(int(wanted[-1]) + 1)
    return statistics.mean(counts)


def compare(source: Path, stored: Path) -> tuple[float, float]:
    """Returns the PSNR of luma in dB, and the SSIM of all planes, of a stored video against its source."""
    graph = av.filter.Graph()
    with av.open(str(source)) as one, av.open(str(stored)) as other:
        stream = other.streams.video[0]
        inputs = [
            graph.add_buffer(width=stream.width, height=stream.height, format="yuv420p", time_base=Fraction(1, 30))
            for _ in "ab"
        ]
        splits = [graph.add("split", "2") for _ in inputs]
        for at, split in zip(inputs, splits, strict=True):
            at.link_to(split)
        sinks = []
        for number, name in enumerate(("psnr", "ssim")):
            measure, sink = graph.add(name), graph.add("buffersink")
            splits[0].link_to(measure, number, 0)
            splits[1].link_to(measure, number, 1)
            measure.link_to(sink)
            sinks.append(sink)
        graph.configure()
        reformatter = VideoReformatter()
        values: list[list[float]] = [[], []]
        for number, pair in enumerate(zip(one.decode(video=0), other.decode(video=0), strict=True)):
            for at, frame in zip(inputs, reversed(pair), strict=True):
                scaled = reformatter.reformat(
                    frame, width=stream.width, height=stream.height, format="yuv420p", interpolation=Interpolation.BICUBIC
                )
                scaled.pts, scaled.time_base = number, Fraction(1, 30)
                at.push(scaled)
            for sink, key, found in zip(sinks, ("lavfi.psnr.mse.y", "lavfi.ssim.All"), values, strict=True):
                found.append(float(sink.pull().metadata[key]))
    mse = max(statistics.mean(values[0]), 1e-6)
    return float(10 * np.log10(255**2 / mse)), statistics.mean(values[1])


def table(result: dict[str, Any]) -> list[str]:
    """Returns the result as the table that stands in docs/forms.md."""
    first = result["forms"]["as downloaded"]["clips_per_s"]
    lines = [
        "| stored as | bytes | frames decoded per clip | PSNR | SSIM | clips/s | against downloaded |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, form in result["forms"].items():
        psnr, ssim = (f"{form['psnr_db']:.1f} dB", f"{form['ssim']:.3f}") if form["psnr_db"] else ("", "")
        lines.append(
            f"| {name} | {form['bytes_to_source']:.2f}x | {form['decoded_frames_per_clip']:.0f} | {psnr} | {ssim} | "
            f"{form['clips_per_s']:.1f} | {form['clips_per_s'] / first:.1f}x |"
        )
    return lines


if __name__ == "__main__":
    main()
