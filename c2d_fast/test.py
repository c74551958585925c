"""`python -m c2d_fast.test`: scores a checkpoint on a list of videos.

Loader workers import this module again, so the heavy imports wait for main().
"""

import argparse

from c2d_fast import cli
from c2d_fast.loading.plan import VIEWS


def make_parser() -> cli.Parser:
    """Returns the parser of the command's flags."""
    parser = cli.command(
        "test",
        "Scores a checkpoint on a list: top-1, top-5 and mean class accuracy of the averaged views (of several labels a video "
        "mAP, too), and which list it was.",
        "python -m c2d_fast.test --pipe dali_pipes/k400_8x8.py --checkpoint runs/R/best.pt --data-root DIR --list val.txt",
    )
    cli.add_recipe_flags(parser, "the recipe that was trained")
    parser.add_argument(
        "--checkpoint", required=True, type=cli.path, metavar="FILE", help="ours (.pt, .safetensors), a published .pth, ..."
    )
    parser.add_argument("--data-root", metavar="DIR", help="folder the list's paths are in (default: the list's)")
    parser.add_argument(
        "--list", metavar="FILE", help="a manifest, `path.mp4 label` lines, CSV (docs/lists.md), or a folder for each class"
    )
    cli.add_list_flags(parser)
    parser.add_argument("--views", default="10x3", choices=tuple(VIEWS), help="clips x crops (default 10x3; 1x1: validation's)")
    parser.add_argument("--batch-size", type=cli.positive, metavar="N", help="views at a time (default: the recipe's)")
    parser.add_argument(
        "--dump", type=cli.path, metavar="FILE", help="write every video's scores, .pkl or .json, and FILE.summary.json"
    )
    parser.add_argument(
        "--thresholds", type=cli.path, metavar="FILE", help="of several labels: write each class's threshold of the best F1"
    )
    cli.add_loader_flags(parser)
    cli.add_compute_flags(parser)
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command's flags."""
    return make_parser().parse_args(argv)


def main() -> None:
    """Runs the command."""
    args = parse()
    cli.begin(args)
    from c2d_fast.commands.run_test import run_test

    cli.imports_done()
    run_test(args)


if __name__ == "__main__":
    cli.run(main)
