"""Measures clips per second: the loader alone, the model alone on one cached batch, and both; beside them what others reach.

    python benchmarks/throughput.py                                   # all four recipes on generated videos: minutes on a CPU
    python benchmarks/throughput.py --pipe dali_pipes/k400_8x8.py --mode loader --list val.txt --data-root /data/k400/val
    python benchmarks/throughput.py --mode loader --sweep workers=1,2,4 form=stored,intra read=files,clips

Writes JSON, after everything that it has measured; `python benchmarks/report.py` draws from it. Loaders are measured in turns,
round after round, on the same clips of the same files, from the page cache; warm-up batches are not counted. Peers that are
not installed are named: pip install -e '.[bench]'. A row's index is what is prepared for it beforehand, which is not timed.
"""

import argparse
import os
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PUBLISHED = ("k400_8x8", "k400_8x8_nopool", "k400_16x4", "k400_8x8_nopool_r101")
PIPES = [HERE.parent / "dali_pipes" / f"{name}.py" for name in PUBLISHED]
CODECS = ("h264", "hevc", "vp9", "mjpeg")
DECODERS = ("auto", "nvdec", "dali", "ffmpeg", "hybrid")
FORMS = ("stored", "gop16", "gop8", "intra")
SWEPT: dict[str, Any] = {
    "workers": int,
    "decoder-threads": int,
    "batch-size": int,
    "decode-batch": int,
    "decoder": str,
    "form": str,
    "read": str,
    "cropping": str,
}
CHOICES = {"decoder": DECODERS, "form": FORMS, "read": ("files", "clips"), "cropping": ("cleared", "kept")}


def main() -> None:
    """Runs the benchmark. Loader workers import this file again, so the heavy imports wait until here."""
    args = parse()
    from run_throughput import run_throughput

    run_throughput(args)


def parse() -> argparse.Namespace:
    """Parses the flags; what they leave open depends on whether there is a GPU."""
    import torch
    from libraries import LIBRARIES

    gpu = torch.cuda.is_available()
    cpus = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipe", type=Path, action="append", help="a recipe, again for another (default: the four published)")
    parser.add_argument("--mode", choices=("loader", "model", "both", "all"), default="all")
    add_videos(parser, gpu)
    how = parser.add_argument_group("how")
    how.add_argument("--decoder", choices=DECODERS, default="auto", help="hybrid: some clips by nvdec, the others by ffmpeg")
    how.add_argument("--hybrid-share", type=float, metavar="X", help="part of nvdec's (default: by what both reach alone)")
    how.add_argument("--workers", type=int, default=min(cpus, 16), help="processes, of ours and of the peers'")
    how.add_argument("--decoder-threads", type=int, default=14 if gpu else 1)
    how.add_argument("--batch-size", type=int, default=32 if gpu else 8, help="of loaders")
    how.add_argument("--model-batch-size", type=int, help="of models and of both together (default: 32 on a GPU, 1 on a CPU)")
    how.add_argument("--precision", choices=("bf16", "fp16", "fp32"))
    how.add_argument("--compile", action=argparse.BooleanOptionalAction)
    how.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    how.add_argument(
        "--peer",
        nargs="+",
        choices=list(LIBRARIES),
        default=list(LIBRARIES),
        metavar="NAME",
        help=f"only these peers: {', '.join(LIBRARIES)}",
    )
    how.add_argument("--before", action="store_true", help="also our loader without what makes it fast")
    how.add_argument("--warmup", type=int, default=4 if gpu else 1, help="batches of a loader that are not counted")
    how.add_argument("--steps", type=int, default=20 if gpu else 4, help="batches that are timed in a round")
    how.add_argument("--rounds", type=int, default=3 if gpu else 2)
    how.add_argument("--sweep", nargs="+", type=swept, default={}, metavar="NAME=V,V", help=f"NAME: {', '.join(SWEPT)}")
    how.add_argument("--sweep-rounds", type=int, default=1)
    how.add_argument("--budget", type=float, metavar="S", help="leave out what would begin after so many seconds")
    how.add_argument("--out", type=Path, default=HERE / "results" / f"throughput-{'gpu' if gpu else 'cpu'}.json")
    args = parser.parse_args()
    args.sweep = dict(args.sweep)
    args.pipe = args.pipe or PIPES
    args.model_batch_size = args.model_batch_size or (32 if gpu else 1)
    args.model_warmup, args.model_steps, args.model_rounds = (8, 20, 3) if gpu else (1, 1, 2)
    for name, known in CHOICES.items():
        for value in args.sweep.get(name, []):
            if value not in known:
                parser.error(f"--sweep {name}={value}: must be one of {', '.join(known)}")
    return args


def add_videos(parser: argparse.ArgumentParser, gpu: bool) -> None:
    """Adds the flags that say which videos are read."""
    videos = parser.add_argument_group("videos (default: generated ones)")
    videos.add_argument("--list", type=Path, help="a list of real videos")
    videos.add_argument("--data-root", type=Path)
    videos.add_argument("--codec", choices=CODECS, default="h264")
    videos.add_argument("--gop", type=int, default=250)
    videos.add_argument("--size", type=size, default=(340, 256), metavar="WxH")
    videos.add_argument("--frames", type=int, default=300, help="of each video")
    videos.add_argument("--count", type=int, default=64 if gpu else 4)
    videos.add_argument(
        "--form", nargs="+", choices=FORMS, default=["stored", "intra"], help="stored: as they are; others: made"
    )
    videos.add_argument("--data", type=Path, default=Path("data/benchmark"), help="folder for what is made")


def size(text: str) -> tuple[int, int]:
    """Parses 340x256."""
    width, height = text.split("x")
    return int(width), int(height)


def swept(text: str) -> tuple[str, list[Any]]:
    """Parses workers=1,2."""
    name, _, values = text.partition("=")
    return name, [SWEPT[name](value) for value in values.split(",")]


if __name__ == "__main__":
    main()
