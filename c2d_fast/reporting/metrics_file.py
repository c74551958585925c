"""metrics.jsonl: a line of JSON for each record of a run."""

from pathlib import Path
from typing import TextIO

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.formats.schemas import Record, ShapeError, decode


def open_without_later_steps(path: Path, last_step: int, epochs: int | None) -> TextIO:
    """Opens the file to go on with it; lines of what will be done again, and one that was left unfinished, go away.

    Args:
        path: the file.
        last_step: lines of later steps go.
        epochs: that are finished: a later one's validation goes, whatever its step. None: not known.

    Raises:
        UserError: it cannot be written.
    """
    try:
        lines = path.read_text(errors="replace").splitlines(keepends=True) if path.exists() else []
        if path.exists():
            with atomic_write(path) as partial:  # a run that is killed here loses none of what it had
                partial.write_text("".join(line for line in lines if _stands(line, last_step, epochs)))
        return path.open("a", buffering=1)
    except OSError as error:
        raise UserError(f"--out: {path} cannot be written ({error.strerror}); free the disk or give another folder") from error


def _stands(line: str, last_step: int, epochs: int | None) -> bool:
    try:
        record = decode(line, Record)
    except ShapeError:  # a killed process has left it unfinished
        return False
    return record.step <= last_step and not (epochs is not None and record.kind == "val" and record.epoch > epochs)
