"""`python -m c2d_fast.train`: trains a recipe on a list of videos.

Loader workers import this module again, so the heavy imports wait for main().
"""

import argparse
import os

from c2d_fast import cli


def make_parser() -> cli.Parser:
    """Returns the parser of the command's flags."""
    parser = cli.command(
        "train",
        "Trains a C2D model from video files. A run folder gets checkpoints, config.json, metrics.jsonl, TensorBoard events.",
        "python -m c2d_fast.train --pipe dali_pipes/k400_8x8.py --data-root DIR --train-list train.txt --val-list val.txt",
        exit_codes=", saved; 75 start again with --resume auto",
    )
    cli.add_recipe_flags(parser, "the recipe: a pipe file, or a shipped one's name")
    parser.add_argument("--balance", action="store_true", help="show all classes equally often (--set labels.balance=true)")
    data = parser.add_argument_group("data (demo.py needs none: it makes its own)")
    data.add_argument("--data-root", metavar="DIR", help="folder the training list's paths are in (default: the list's)")
    data.add_argument("--val-root", metavar="DIR", help="the same for validation (default: --data-root)")
    data.add_argument(
        "--train-list", metavar="FILE", help="a manifest, `path.mp4 label` lines, CSV (docs/lists.md), a folder for each class"
    )
    data.add_argument("--val-list", metavar="FILE", help="likewise; without it nothing is validated")
    cli.add_list_flags(data)
    data.add_argument("--val-video-name", metavar="TEMPLATE", help="the same for validation (default: --video-name)")
    data.add_argument("--max-bad-videos", default="1%", metavar="N|P%", help="broken training videos to bear (default 1%%)")
    run = parser.add_argument_group("run")
    run.add_argument("--out", type=cli.path, metavar="DIR", help="run folder (default: runs/<pipe>-<time>)")
    run.add_argument("--resume", metavar="auto|PATH", help="go on from a checkpoint; auto: from the newest, where there is one")
    run.add_argument("--epochs", type=cli.positive, metavar="N", help="default: the recipe's")
    run.add_argument("--batch-size", type=cli.batch_size, metavar="N|auto",
                     help="clips per GPU (default: the recipe's); auto: what trains most clips a second")  # fmt: skip
    run.add_argument(
        "--accumulate", type=cli.positive, default=1, metavar="N", help="batches for each optimizer step (default 1)"
    )
    run.add_argument("--sync-bn", action="store_true", help="batch normalisation over all GPUs (default: each its own)")
    run.add_argument("--auto-scale-lr", action=argparse.BooleanOptionalAction, default=True,
                     help="scale the recipe's learning rate to the batch (default: on)")  # fmt: skip
    run.add_argument("--weights", metavar="imagenet|none|FILE", help="where the model starts (default: the recipe's)")
    run.add_argument(
        "--teacher",
        metavar="FILE",
        help="learn from it, too: a checkpoint, or scores of the training list (test --dump)",
    )
    run.add_argument("--new-head", action="store_true", help="start with a new classifier, whatever --weights has")
    run.add_argument(
        "--seed", type=cli.not_negative, default=0, metavar="N", help="decides order, sampling and dropout (default 0)"
    )
    run.add_argument("--pictures-every", type=cli.not_negative, metavar="N",
                     help="epochs between pictures in TensorBoard, 0: none (default: a tenth of the run)")  # fmt: skip
    run.add_argument("--tracker", choices=("tensorboard", "mlflow", "wandb"), default="tensorboard", metavar="NAME",
                     help="mlflow or wandb, which gets the same figures as TensorBoard (docs/seeing.md)")  # fmt: skip
    run.add_argument("--profile", action="store_true", help="trace a few steps into the run folder, and say what bounds them")
    run.add_argument("--deterministic", action="store_true", help="the same weights from the same seed, on a GPU at a cost")
    safety = parser.add_argument_group("never lose a run")
    safety.add_argument("--checkpoint-minutes", type=cli.minutes, default=10.0, metavar="M",
                        help="save at least so often, beside every epoch's end (default 10)")  # fmt: skip
    safety.add_argument("--checkpoint-steps", type=cli.positive, metavar="N", help="save after every N steps, too")
    safety.add_argument("--keep", type=cli.not_negative, default=2, metavar="K",
                        help="checkpoints that stay beside last.pt and best.pt (default 2)")  # fmt: skip
    safety.add_argument("--stall-minutes", type=cli.minutes, default=30.0, metavar="M",
                        help="end the run when it gets no further for so long (default 30)")  # fmt: skip
    safety.add_argument(
        "--forget-quarantine", action="store_true", help="use videos again that broke before the run is resumed"
    )
    safety.add_argument("--log-batches", action="store_true", help="write each batch's videos and sha256 into the run folder")
    reading = cli.add_loader_flags(parser)
    reading.add_argument("--decode-batch", type=cli.positive, metavar="N", help="clips decoded together (default: by decoder)")
    cli.add_compute_flags(parser, run)
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command's flags."""
    return make_parser().parse_args(argv)


def main() -> None:
    """Runs the command."""
    args = parse()
    cli.begin(args)
    if args.profile:  # the profiler's own messages; read when torch is imported
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from c2d_fast.commands.run_train import run_train

    cli.imports_done()
    run_train(args)


if __name__ == "__main__":
    cli.run(main)
