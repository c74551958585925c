"""metrics.jsonl: a line of JSON for each record of a run."""

import json
from pathlib import Path
from typing import TextIO

from c2d_fast.errors import UserError
from c2d_fast.files import written_whole


def open_without_later_steps(path: Path, last_step: int) -> TextIO:
    """Opens the file to go on with it; lines of later steps, and one that a killed process has left unfinished, go away.

    Raises:
        UserError: it cannot be written.
    """
    try:
        lines = path.read_text(errors="replace").splitlines(keepends=True) if path.exists() else []
        if path.exists():
            with written_whole(path) as partial:  # a run that is killed here loses none of what it had
                partial.write_text("".join(line for line in lines if _step(line) <= last_step))
        return path.open("a", buffering=1)
    except OSError as error:
        raise UserError(f"--out: {path} cannot be written ({error.strerror}); free the disk or give another folder") from error


def _step(line: str) -> float:
    """Returns the step of a line; infinity for one that a killed process has left unfinished."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
