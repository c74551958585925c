"""`python -m c2d_fast.prepare`: makes data sets."""

import argparse
from pathlib import Path

from c2d_fast import cli


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command's flags."""
    parser = cli.command("prepare", "Makes data sets.", "python -m c2d_fast.prepare demo --out data/demo")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="generate the demo data set", description="Generates the demo data set.")
    demo.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for videos, lists and labels.txt")
    lists = commands.add_parser(
        "list",
        help="make lists and a label map",
        description="Writes train.txt, val.txt and labels.txt (and missing.txt) for a folder of videos for each class, or for "
        "Kinetics' CSV files and the videos that are there. Nothing else is written, moved or deleted.",
    )
    lists.add_argument("--train", type=Path, required=True, metavar="FOLDER|CSV", help="the training split")
    lists.add_argument("--val", type=Path, metavar="FOLDER|CSV", help="the validation split")
    lists.add_argument(
        "--val-percent", type=cli.per_cent, default=0.0, metavar="P", help="or: so many of each class's training videos"
    )
    lists.add_argument("--seed", type=cli.not_negative, default=0, metavar="N", help="decides which (default 0)")
    root = "what paths are relative to, and where a CSV's videos are (default: the common folder)"
    lists.add_argument("--data-root", type=Path, metavar="DIR", help=root)
    lists.add_argument("--val-root", type=Path, metavar="DIR", help="where those of the --val CSV are (default: --data-root)")
    name = "of a CSV's files: {id} {start} {end} {label} {split} (default: as Kinetics comes)"
    lists.add_argument("--video-name", metavar="TEMPLATE", help=name)
    lists.add_argument("--label-map", type=Path, metavar="FILE", help="class names by label (default: in alphabetical order)")
    lists.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the lists")
    return parser.parse_args(argv)


def main() -> None:
    """Runs the command."""
    args = parse()
    if args.command == "demo":
        from c2d_fast.demo_data import make_demo_data

        print(make_demo_data(args.out))
    else:
        from c2d_fast.make_lists import run_list

        run_list(args)


if __name__ == "__main__":
    cli.run(main)
