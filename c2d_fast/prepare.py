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
    return parser.parse_args(argv)


def main() -> None:
    """Runs the command."""
    args = parse()
    from c2d_fast.demo_data import make_demo_data

    print(make_demo_data(args.out))


if __name__ == "__main__":
    cli.run(main)
