"""The program `c2d-fast`, which `python -m c2d_fast` is, too: names the commands, and runs them.

Loader workers import the program's script again, so nothing heavy is imported here.
"""

import importlib
import os
import sys
from contextlib import suppress
from typing import NoReturn

from c2d_fast import __version__
from c2d_fast.cli import run
from c2d_fast.errors import UserError

COMMANDS = {
    "train": "trains a recipe; a run folder gets checkpoints, TensorBoard events and JSON lines",
    "test": "scores a checkpoint on a list",
    "predict": "classifies videos",
    "browse": "shows the clips that the model is really fed",
    "analyze": "charts and tables of runs and results",
    "export": "writes a checkpoint as ONNX, pt2 or safetensors",
    "info": "what this machine can do, what a recipe costs, what a checkpoint is",
    "prepare": "makes lists, scans and rewrites data sets, makes the demo data",
    "completion": "prints a script that lets a shell complete commands, flags and files",
}


def main() -> None:
    """Runs the command that the first word names, as `python -m c2d_fast.NAME` does; without one, prints their names.

    Raises:
        UserError: there is no such command.
    """
    name, *words = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        _print_commands()
    elif name == "--version":
        print(f"c2d_fast {__version__}")
    elif name in COMMANDS:
        sys.argv[1:] = words
        importlib.import_module(f"c2d_fast.{name}").main()
    else:
        raise UserError(f"{name}: is no command; the commands are {', '.join(COMMANDS)}")


def start() -> NoReturn:
    """Runs the program as its script: the working folder's modules can be imported, last of all, as pipe files may want."""
    if not sys.flags.safe_path:
        with suppress(OSError):  # the folder is gone
            sys.path.append(os.getcwd())
    run(main)


def _print_commands() -> None:
    print(f"c2d_fast {__version__}: trains C2D video classifiers from video files. Commands, each with --help:\n")
    for name, text in COMMANDS.items():
        print(f"  python -m c2d_fast.{name:<10}  {text}")
    print("\nThe program c2d-fast takes their names, too: c2d-fast train ...")
    print("Begin with: python -m c2d_fast.train --pipe demo    (docs/first-steps.md)")
