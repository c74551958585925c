"""`python -m c2d_fast.browse`: the clips that the model is fed, to be looked at.

Loader workers import this module again, so the heavy imports wait for main().
"""

import argparse

from c2d_fast import cli


def make_parser() -> cli.Parser:
    """Returns the parser of the command's flags."""
    parser = cli.command(
        "browse",
        "Shows what the loader really feeds the model with, as pictures with class, file, frames and crop, or as arrays:\n"
        "clips (uint8 [N, T, H, W, C], RGB), path, label, index (place in the list), view (crop * 10 + clip in test).",
        "python -m c2d_fast.browse --pipe dali_pipes/k400_8x8.py --list train.txt --png clips.png",
    )
    cli.add_recipe_flags(parser, "the recipe: a pipe file, or a shipped one's name")
    parser.add_argument("--png", type=cli.path, metavar="FILE", help="draw clips on a sheet (more than 30: FILE-2.png ...)")
    parser.add_argument("--mp4", type=cli.path, metavar="FILE", help="let the first sheet's clips play beside each other")
    parser.add_argument("--npz", type=cli.path, metavar="FILE", help="write clips as arrays")
    parser.add_argument("--split", default="train", choices=("train", "val", "test"),
                        help="train: augmented clips (default); val: centre views; test: all 10x3 views")  # fmt: skip
    parser.add_argument("--limit", type=cli.positive, metavar="N",
                        help="only the list's or epoch's first N videos (default: all; in pictures 16, of test 1)")  # fmt: skip
    parser.add_argument("--seed", type=cli.not_negative, metavar="N", help="of the training split (default 0)")
    parser.add_argument("--epoch", type=cli.positive, metavar="N", help="likewise, counted from 1 (default 1)")
    data = parser.add_argument_group("data (demo.py needs none: it makes its own)")
    data.add_argument("--data-root", metavar="DIR", help="folder the list's paths are in (default: the list's)")
    data.add_argument(
        "--list", metavar="FILE", help="a manifest, `path.mp4 label` lines, CSV (docs/lists.md), or a folder for each class"
    )
    cli.add_list_flags(data)
    cli.add_loader_flags(parser)
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command's flags."""
    return make_parser().parse_args(argv)


def main() -> None:
    """Runs the command."""
    args = parse()
    cli.begin(args)
    from c2d_fast.commands.run_browse import run_browse

    cli.imports_done()
    run_browse(args)


if __name__ == "__main__":
    cli.run(main)
