"""`python -m c2d_fast`: names the commands."""

from c2d_fast import __version__
from c2d_fast.cli import run

_COMMANDS = {
    "train": "trains a recipe; a run folder gets checkpoints, TensorBoard events and JSON lines",
    "test": "scores a checkpoint on a list",
    "predict": "classifies videos",
    "browse": "shows the clips that the model is really fed",
    "analyze": "charts and tables of runs and results",
    "export": "writes a checkpoint as ONNX or safetensors",
    "info": "what this machine can do, what a recipe costs, what a checkpoint is",
    "prepare": "makes lists, scans and rewrites data sets, makes the demo data",
}


def main() -> None:
    """Prints them."""
    print(f"c2d_fast {__version__}: trains C2D video classifiers from video files. Commands, each with --help:\n")
    for name, text in _COMMANDS.items():
        print(f"  python -m c2d_fast.{name:<8}  {text}")
    print("\nBegin with: python -m c2d_fast.train --pipe dali_pipes/demo.py    (docs/first-steps.md)")


if __name__ == "__main__":
    run(main)
