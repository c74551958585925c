"""Who is watching, and what they are shown."""

import os
import shutil
import sys
from typing import TextIO

_silent = False
_results: TextIO | None = None


def shows_bars() -> bool:
    """Says whether progress bars can be seen: stderr is a terminal that has a width, and this process may use it."""
    return not _silent and sys.stderr.isatty() and shutil.get_terminal_size((0, 0)).columns > 0


def result(text: str) -> None:
    """Shows what a command was run for, also when it was told to be quiet."""
    print(text, file=_results or sys.stdout)


def quieten() -> None:
    """From now on shows results and errors only."""
    global _silent, _results
    _silent, _results = True, sys.stdout
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def silence() -> None:
    """Shows nothing more of this process but its errors: of several ranks one is enough."""
    quieten()
    global _results  # noqa: PLW0603
    _results = sys.stdout
