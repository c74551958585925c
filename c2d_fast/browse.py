"""`python -m c2d_fast.browse`: the clips that the model is fed, to be looked at.

Loader workers import this module again, so the heavy imports wait for main().
"""

import argparse
from pathlib import Path

from c2d_fast import cli


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command's flags."""
    parser = cli.command(
        "browse",
        "Writes what the loader feeds the model with: NumPy arrays `clips` (uint8 [N, T, H, W, C], RGB), `path`, `label`, "
        "`index` (place in the list) and `view` (crop * 10 + clip in the test split, else 0), and what list it was.",
        "python -m c2d_fast.browse --pipe dali_pipes/k400_8x8.py --list val.txt --split test --limit 4 --npz views.npz",
    )
    parser.add_argument("--pipe", required=True, metavar="FILE", help="the recipe")
    parser.add_argument("--npz", required=True, type=Path, metavar="FILE", help="the file to write")
    parser.add_argument("--split", default="train", choices=("train", "val", "test"),
                        help="train: augmented clips (default); val: centre views; test: all 10x3 views")  # fmt: skip
    parser.add_argument(
        "--limit", type=cli.positive, metavar="N", help="only N videos: the list's first, or the epoch's (default: all)"
    )
    parser.add_argument("--seed", type=cli.not_negative, default=0, metavar="N", help="of the training split (default 0)")
    parser.add_argument("--epoch", type=cli.positive, default=1, metavar="N", help="likewise, counted from 1 (default 1)")
    data = parser.add_argument_group("data (demo.py needs none: it makes its own)")
    data.add_argument("--data-root", metavar="DIR", help="folder the list's paths are in (default: the list's)")
    data.add_argument(
        "--list", metavar="FILE", help="a manifest, `path.mp4 label` lines, Kinetics' CSV, or a folder for each class"
    )
    cli.add_list_flags(data)
    cli.add_loader_flags(parser)
    return parser.parse_args(argv)


def main() -> None:
    """Runs the command."""
    args = parse()
    from c2d_fast.run_browse import run_browse

    run_browse(args)


if __name__ == "__main__":
    cli.run(main)
