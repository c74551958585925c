"""Who is watching, and what they are shown."""

import os
import shutil
import sys

_silent = False


def shows_bars() -> bool:
    """Says whether progress bars can be seen: stderr is a terminal that has a width, and this process may use it."""
    return not _silent and sys.stderr.isatty() and shutil.get_terminal_size((0, 0)).columns > 0


def silence() -> None:
    """Shows nothing more of this process but its errors: of several ranks one is enough."""
    global _silent  # noqa: PLW0603
    _silent = True
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
