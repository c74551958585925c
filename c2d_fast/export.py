"""`python -m c2d_fast.export`: writes a checkpoint's weights in another form."""

import argparse
from pathlib import Path

from c2d_fast import cli


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command's flags."""
    parser = cli.command(
        "export",
        "Writes a checkpoint's weights as safetensors, in torchvision's ResNet names, with a card that says what they are: "
        "recipe, classes, scores, lists, versions. The optimizer stays behind.",
        "python -m c2d_fast.export --checkpoint runs/R/best.pt --out model.safetensors",
    )
    parser.add_argument("--checkpoint", required=True, type=Path, metavar="FILE", help="ours, or a published .pth")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="must end in .safetensors")
    parser.add_argument("--pipe", metavar="FILE", help="the recipe, for a checkpoint that is not ours and does not say it")
    parser.add_argument("--num-classes", type=cli.positive, metavar="K", help="default: the checkpoint's, or the recipe's")
    return parser.parse_args(argv)


def main() -> None:
    """Runs the command."""
    args = parse()
    from c2d_fast.run_export import run_export

    run_export(args)


if __name__ == "__main__":
    cli.run(main)
