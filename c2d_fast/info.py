"""`python -m c2d_fast.info`: what a recipe's model is and costs, beside what is published."""

import argparse

from c2d_fast import cli


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command's flags."""
    parser = cli.command(
        "info",
        "Shows a recipe: its model, its parameters and multiply-accumulates for each clip as counted here, and the published "
        "figures beside them.",
        "python -m c2d_fast.info --pipe dali_pipes/k400_8x8.py",
    )
    parser.add_argument("--pipe", required=True, metavar="FILE", help="the recipe")
    return parser.parse_args(argv)


def main() -> None:
    """Runs the command."""
    args = parse()
    from c2d_fast.run_info import run_info

    run_info(args)


if __name__ == "__main__":
    cli.run(main)
