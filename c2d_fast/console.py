"""Who is watching, and what they are shown."""

import os
import re
import shutil
import sys
from typing import Any, TextIO

from c2d_fast.errors import UserError

# C0 and C1 controls but for line feed and tab, what turns the direction of writing, and other ends of lines.
_MOVES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f]")
_silent = False
_results: TextIO | None = None


class EscapedStream:
    """A stream of text on which what would move a terminal's cursor is shown, and not sent.

    Names of files and classes come from data, and any of them may be printed.
    """

    def __init__(self, stream: TextIO):
        """Writes onto stream."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes a text.

        Raises:
            UserError: a disk is full, or whatever it goes to takes no more.
        """
        try:
            self._stream.write(escape_control(text))
        except BrokenPipeError:  # nobody reads on
            raise
        except OSError as error:
            raise UserError(f"the output cannot be written ({error.strerror}); make room, or send it elsewhere") from error
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def escape_control(text: str) -> str:
    """Returns a text in which what would move a cursor or turn the direction of writing is shown; lines stay lines."""
    return _MOVES.sub(_shown, text)


def _shown(found: "re.Match[str]") -> str:
    # Of these DEL alone may stand in JSON as it is, where only this form may stand in its place.
    return "\\u007f" if found[0] == "\x7f" else repr(found[0])[1:-1]


def begin() -> None:
    """Prepares this process's output; called before anything is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # otherwise the next file that is opened would get it, and what libraries print would go into that
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this process
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    # Progress is read while it happens, also through a pipe. Names of files may be any bytes.
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.stdout = EscapedStream(sys.stdout)  # type: ignore[assignment]


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
