"""`python -m c2d_fast.analyze`: charts and tables of runs and of results, side by side."""

import argparse

from c2d_fast import cli


def make_parser() -> cli.Parser:
    """Returns the parser of the command's flags."""
    parser = cli.command(
        "analyze",
        "Draws curves and speed of runs over each other, confusion matrix, accuracy by class and hardest videos of "
        "results.\nWrites tables, too (Markdown and CSV), or one page that needs no network (--html).",
        "python -m c2d_fast.analyze runs/A runs/B scores.pkl --out analysis",
    )
    parser.add_argument(
        "paths", nargs="+", type=cli.path, metavar="PATH", help="a run folder, or what test --dump wrote (.pkl, .json)"
    )
    parser.add_argument("--out", type=cli.path, metavar="DIR", help="default: analysis, with --html none; made if missing")
    parser.add_argument(
        "--html", type=cli.path, metavar="FILE", help="write all of it as one page, with pictures of the hardest videos"
    )
    parser.add_argument(
        "--label-map", metavar="FILE", help="class names of the results (default: those of FILE.summary.json, or numbers)"
    )
    parser.add_argument("--top", type=cli.positive, default=20, metavar="N", help="hardest videos to list (default 20)")
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command's flags."""
    return make_parser().parse_args(argv)


def main() -> None:
    """Runs the command."""
    args = parse()
    cli.begin(args)
    from c2d_fast.commands.run_analyze import run_analyze

    cli.imports_done()
    run_analyze(args)


if __name__ == "__main__":
    cli.run(main)
