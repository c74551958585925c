"""Measures what several clips of one decode cost (repeated augmentation): clips per second at 1, 2 and 4 clips a decode.

    python benchmarks/several_clips.py                     # generated videos, as downloaded and all-intra: minutes on a CPU
    python benchmarks/several_clips.py --list val.txt --data-root /data/k400/val

The loader alone, batches of the same number of clips, in turns, from the page cache. With one clip a decode each clip of a
batch is of another video. With four, a video is read and decoded once for four clips, each with frames, crop and flip of its
own.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import torch
from machine import describe_machine
from measure import Setting, chosen_decoder, loader_round
from report import form_title
from result_file import write_result
from rounds import Rounds
from stored import make_forms
from throughput import add_videos

from c2d_fast.recipe import load_pipe

FORMAT = "c2d_fast.benchmark.several_clips/1"
HERE = Path(__file__).parent
RESULT = HERE / "results" / "several-clips-cpu.json"
"""What docs/loader.md shows."""


def table(result: dict[str, Any]) -> str:
    """Returns the figures as a table of Markdown, and what they were measured on."""
    forms = dict.fromkeys(row["form"] for row in result["rows"])
    rates = {(row["form"], row["clips_per_decode"]): row for row in result["rows"]}
    lines = [f"| clips of a decode | {' | '.join(map(form_title, forms))} |", "|---|" + "---|" * len(forms)]
    for clips in dict.fromkeys(row["clips_per_decode"] for row in result["rows"]):
        cells = [
            f"{rates[form, clips]['clips_per_s']:.1f} ({rates[form, clips]['times_one_clip']:.2f} times)" for form in forms
        ]
        lines.append(f"| {clips} | {' | '.join(cells)} |")
    machine = result["machine"]
    where = machine["gpu"] or f"{machine['cpu']}, {machine['cpus']} CPUs"
    decoders = " and ".join(dict.fromkeys(row["decoder"] for row in result["rows"]))
    settings = f"clips of `{result['pipe']}` by {decoders}, batches of {result['settings']['batch_size']}"
    return "\n".join([*lines, "", f"Measured on {result['date']} on {where}: {settings}, medians of rounds in turns."])


def main() -> None:
    """Measures and writes the JSON after each round."""
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipe", default="k400_8x8")
    add_videos(parser, gpu)
    parser.add_argument("--clips", type=int, nargs="+", default=[1, 2, 4], help="clips of a decode")
    parser.add_argument("--batch-size", type=int, default=32 if gpu else 8, help="clips of a batch, whatever decodes make them")
    parser.add_argument("--decoder", default="auto")
    parser.add_argument("--workers", type=int, default=min(len(os.sched_getaffinity(0)), 16))
    parser.add_argument("--warmup", type=int, default=4 if gpu else 1, help="batches of a loader that are not counted")
    parser.add_argument("--steps", type=int, default=20 if gpu else 4, help="batches that are timed in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"several-clips-{'gpu' if gpu else 'cpu'}.json")
    args = parser.parse_args()
    pipe, forms = load_pipe(args.pipe), make_forms(args, args.form)
    settings = {
        clips: Setting(
            device=torch.device("cuda" if gpu else "cpu"),
            decoder=args.decoder,
            workers=args.workers,
            decoder_threads=14 if gpu else 1,
            batch_size=args.batch_size,
            clips_per_decode=clips,
        )
        for clips in args.clips
    }
    rates = {(form.name, clips): Rounds() for form in forms for clips in args.clips}
    for number in range(args.rounds):
        for form in forms:
            for clips, setting in settings.items():
                rate = loader_round(pipe, form, setting, args.warmup, args.steps, seed=number)
                rates[form.name, clips].values.append(rate)
                print(f"round {number + 1}, {form.name}, {clips} clips a decode: {rate:.1f} clips/s", flush=True)
        rows = [
            {
                "form": form.name,
                "decoder": chosen_decoder(form, setting),
                "clips_per_decode": clips,
                **rates[form.name, clips].facts(),
                "videos_per_s": round(rates[form.name, clips].median / clips, 3),
                "times_one_clip": round(rates[form.name, clips].median / rates[form.name, args.clips[0]].median, 3),
            }
            for form in forms
            for clips, setting in settings.items()
        ]
        write_result(
            args.out,
            {
                "format": FORMAT,
                "date": time.strftime("%Y-%m-%d"),
                "machine": describe_machine("opencv-python-headless"),
                "pipe": pipe.recipe.name,
                "settings": settings[args.clips[0]].facts(),
                "forms": {form.name: form.facts() for form in forms},
                "rows": rows,
            },
        )
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
