"""Whether somebody is watching."""

import shutil
import sys


def shows_bars() -> bool:
    """Says whether progress bars can be seen: stderr is a terminal that has a width."""
    return sys.stderr.isatty() and shutil.get_terminal_size((0, 0)).columns > 0
