"""`python -m c2d_fast.predict`: what a model says of videos.

Loader workers import this module again, so the heavy imports wait for main().
"""

import argparse

from c2d_fast import cli
from c2d_fast.loading.plan import VIEWS


def make_parser() -> cli.Parser:
    """Returns the parser of the command's flags."""
    parser = cli.command(
        "predict",
        "Classifies videos: the most probable classes of each, with their probabilities; of a model of several labels a video "
        "all that reach a threshold.",
        "python -m c2d_fast.predict a.mp4 b.mp4 --pipe dali_pipes/k400_8x8.py --checkpoint runs/R/best.pt",
    )
    parser.add_argument("videos", nargs="*", type=cli.path, metavar="VIDEO", help="files, or folders with videos")
    cli.add_recipe_flags(parser, "the recipe that was trained")
    parser.add_argument(
        "--checkpoint", required=True, type=cli.path, metavar="FILE", help="ours (.pt, .safetensors), a published .pth, ..."
    )
    parser.add_argument("--views", default="1x1", choices=tuple(VIEWS),
                        help="clips x crops (default 1x1; 10x3 takes 30 times as long, and is what is published)")  # fmt: skip
    parser.add_argument("--top", type=cli.positive, metavar="K", help="classes to name (default 5; of several labels all)")
    parser.add_argument(
        "--threshold",
        type=probability,
        metavar="P",
        help="of several labels, or of windows: that of all (default 0.5; --stream: 0)",
    )
    parser.add_argument("--thresholds", type=cli.path, metavar="FILE",
                        help="of several labels: of each class, by test --thresholds, or {class: number}")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    parser.add_argument("--overlay", type=cli.path, metavar="FILE|DIR",
                        help="write the video with the classes over it (.mp4, no sound); several into a folder")  # fmt: skip
    parser.add_argument("--explain", type=cli.path, metavar="FILE|DIR",
                        help="write what speaks for the class, as heat maps (.mp4, .png; folder: both)")  # fmt: skip
    parser.add_argument("--explain-class", metavar="CLASS", help="name or label (default: the most probable one)")
    long = parser.add_argument_group("long videos and streams: what they show when")
    long.add_argument("--segments", action="append", type=cli.path, metavar="FILE|DIR",
                      help="write start, end, class and score (.json, .csv, .srt; may be repeated)")  # fmt: skip
    long.add_argument("--window", type=cli.seconds, metavar="S", help="seconds that are looked at together (default 2)")
    long.add_argument(
        "--stride", type=cli.seconds, metavar="S", help="seconds from a window to the next (default: half of one)"
    )
    long.add_argument(
        "--smooth", type=cli.positive, metavar="N", help="windows that are averaged, odd; of a stream the last N (default 1)"
    )
    long.add_argument("--key-frames", action="store_true", help="decode key frames only: quicker and coarser")
    live = parser.add_argument_group("streams")
    live.add_argument("--stream", metavar="URL|DEVICE|-",
                      help="rtsp://..., /dev/video0, or - for a pipe: a line of JSON for each window")  # fmt: skip
    live.add_argument("--max-delay", type=cli.seconds, metavar="S", help="drop what would come later than this (default 5)")
    live.add_argument("--out", type=cli.path, metavar="FILE", help="append the lines to a file, too")
    parser.add_argument("--watch", type=cli.path, metavar="DIR", help="score what comes into a folder, each file once")
    parser.add_argument("--num-classes", type=cli.positive, metavar="K", help="default: the checkpoint's, or the recipe's")
    parser.add_argument("--label-map", metavar="FILE", help="class names, where the checkpoint knows none")
    parser.add_argument("--batch-size", type=cli.positive, metavar="N", help="views at a time (default: the recipe's)")
    cli.add_loader_flags(parser, of_list=False)
    cli.add_compute_flags(parser)
    return parser


def probability(text: str) -> float:
    """Parses a probability, 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} must be 0 to 1")
    return number


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command's flags."""
    return make_parser().parse_args(argv)


def main() -> None:
    """Runs the command."""
    args = parse()
    cli.begin(args, quiet=args.json or args.stream is not None)
    from c2d_fast.commands.run_predict import run_predict

    cli.imports_done()
    run_predict(args)


if __name__ == "__main__":
    cli.run(main)
