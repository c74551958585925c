"""`python -m c2d_fast.info`: what this machine can do, what a recipe's model is and costs, what a checkpoint is."""

import argparse

from c2d_fast import cli


def make_parser() -> cli.Parser:
    """Returns the parser of the command's flags."""
    parser = cli.command(
        "info",
        "Shows what this machine can do: versions, CPU, memory, GPUs, decoders, encoders. A bug report starts with this.\n"
        "With a recipe, first what it decides, its model by parts, and parameters and multiply-accumulates for each clip as\n"
        "counted here, beside the published figures. With a checkpoint, what it is. With a manifest, what a clip takes to\n"
        "read.",
        "python -m c2d_fast.info --pipe dali_pipes/k400_8x8.py",
    )
    cli.add_recipe_flags(parser, "a recipe: a pipe file, or a shipped one's name", required=False)
    parser.add_argument("--checkpoint", type=cli.path, metavar="FILE", help="of any form; nothing in it is run")
    parser.add_argument(
        "--list",
        type=cli.location,
        metavar="FILE",
        help="a manifest: bytes and requests of a clip, and the server's speed",
    )
    parser.add_argument(
        "--data-root",
        type=cli.location,
        metavar="DIR",
        help="folder or URL that its paths are in (default: the manifest's)",
    )
    parser.add_argument("--json", action="store_true", help="all of it as one JSON object")
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command's flags."""
    return make_parser().parse_args(argv)


def main() -> None:
    """Runs the command."""
    args = parse()
    cli.begin(args, quiet=args.json)
    from c2d_fast.commands.run_info import run_info

    cli.imports_done()
    run_info(args)


if __name__ == "__main__":
    cli.run(main)
