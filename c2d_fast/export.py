"""`python -m c2d_fast.export`: writes a checkpoint's model in another form.

Loader workers import this module again, so the heavy imports wait for main().
"""

import argparse

from c2d_fast import cli


def make_parser() -> cli.Parser:
    """Returns the parser of the command's flags."""
    parser = cli.command(
        "export",
        "Writes a checkpoint's weights as safetensors, in torchvision's ResNet names, or its model as ONNX or as a program of\n"
        "torch.export (pt2): clips, RGB, uint8 [N, T, H, W, 3], in; logits [N, K] out; checked against PyTorch. A card that\n"
        "says what it is (recipe, classes, scores, lists, versions) goes into the file, and beside it as OUT.card.json. The\n"
        "optimizer stays behind. docs/deploy.md has int8, TensorRT and what is fast.",
        "python -m c2d_fast.export --checkpoint runs/R/best.pt --out model.onnx",
    )
    parser.add_argument("--checkpoint", required=True, type=cli.path, metavar="FILE", help="ours, or a published .pth")
    parser.add_argument("--out", type=cli.path, metavar="FILE",
                        help="replaced if it is there (default: beside the checkpoint, ending in what --to says)")  # fmt: skip
    parser.add_argument("--to", choices=("onnx", "safetensors", "pt2"), help="default: as the name of --out ends")
    parser.add_argument("--features", action="store_true",
                        help="ONNX, pt2: a second output, features [N, C], what the classifier is given")  # fmt: skip
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8"), default="fp32",
                        help="ONNX: of weights and inner numbers (default fp32); int8 needs --calibrate")  # fmt: skip
    cli.add_recipe_flags(
        parser, "the recipe, for a checkpoint that does not say it, and for --calibrate, --check", required=False
    )
    parser.add_argument("--num-classes", type=cli.positive, metavar="K", help="default: the checkpoint's, or the recipe's")
    parser.add_argument("--calibrate", metavar="LIST", help="int8: a list of videos that the ranges of its numbers are from")
    parser.add_argument("--calibration-videos", type=cli.positive, metavar="N",
                        help="of that list, at even distances (default 64)")  # fmt: skip
    parser.add_argument("--check", metavar="LIST", help="print what the file is worth beside PyTorch on a list's videos")
    parser.add_argument("--data-root", metavar="DIR", help="folder the lists' paths are in (default: the list's)")
    parser.add_argument("--label-map", metavar="FILE", help="class names, where the checkpoint knows none")
    parser.add_argument("--video-name", metavar="TEMPLATE", help="where lists give ids, e.g. '{id}.mp4'")
    cli.add_loader_flags(parser)
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
