"""`python -m c2d_fast.export`: writes a checkpoint's model in another form."""

import argparse

from c2d_fast import cli


def make_parser() -> cli.Parser:
    """Returns the parser of the command's flags."""
    parser = cli.command(
        "export",
        "Writes a checkpoint's weights as safetensors, in torchvision's ResNet names, or its model as ONNX: clips, RGB, uint8\n"
        "[N, T, H, W, 3], in; logits [N, K] out; checked against PyTorch. A card that says what it is (recipe, classes,\n"
        "scores, lists, versions) goes into the file, and beside it as OUT.card.json. The optimizer stays behind.",
        "python -m c2d_fast.export --checkpoint runs/R/best.pt --out model.onnx",
    )
    parser.add_argument("--checkpoint", required=True, type=cli.path, metavar="FILE", help="ours, or a published .pth")
    parser.add_argument("--out", type=cli.path, metavar="FILE",
                        help="replaced if it is there (default: beside the checkpoint, ending in what --to says)")  # fmt: skip
    parser.add_argument("--to", choices=("onnx", "safetensors"), help="default: as the name of --out ends")
    parser.add_argument("--features", action="store_true",
                        help="ONNX: a second output, features [N, C], what the classifier is given")  # fmt: skip
    cli.add_recipe_flags(parser, "the recipe, for a checkpoint that is not ours and does not say it", required=False)
    parser.add_argument("--num-classes", type=cli.positive, metavar="K", help="default: the checkpoint's, or the recipe's")
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command's flags."""
    return make_parser().parse_args(argv)


def main() -> None:
    """Runs the command."""
    args = parse()
    cli.begin(args)
    from c2d_fast.commands.run_export import run_export

    cli.imports_done()
    run_export(args)


if __name__ == "__main__":
    cli.run(main)
