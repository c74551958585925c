"""The checkpoints of a run folder: when one is due, which are kept, and which is the newest that is whole.

last.pt is the newest one and best.pt the best epoch's; step-00000120.pt are the newest few, under names of their own.
"""

import contextlib
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from c2d_fast.errors import UserError
from c2d_fast.model import checkpoint


class Checkpoints:
    """Writes the checkpoints of a run folder."""

    def __init__(self, folder: Path, *, keep: int = 2, every_steps: int | None = None, every_s: float | None = None):
        """Writes into a folder that exists.

        Args:
            folder: the run folder.
            keep: step-*.pt that stay, newest first; 0 or more.
            every_steps: one is due after every so many steps.
            every_s: and when so much time has passed since the last one.
        """
        self.folder = folder
        self._keep, self._every_steps, self._every_s = keep, every_steps, every_s
        self._saved_s = time.monotonic()
        self._lock = threading.Lock()

    @property
    def best(self) -> Path:
        """Returns where the best epoch's is."""
        return self.folder / "best.pt"

    @property
    def last(self) -> Path:
        """Returns where the newest one is."""
        return self.folder / "last.pt"

    def is_due(self, step: int) -> bool:
        """Says whether one is to be written after a step, by its number; the same on all ranks."""
        return self._every_steps is not None and step % self._every_steps == 0

    def is_overdue(self) -> bool:
        """Says whether one is to be written, by the clock."""
        return self._every_s is not None and time.monotonic() - self._saved_s >= self._every_s

    def save(self, content: dict[str, Any], *, best: bool, wait: bool = True) -> bool:
        """Writes a checkpoint, then gives it its other names, then deletes old ones: what there was stays until the new one is.

        Args:
            content: as checkpoint.save takes it; its progress tells the step.
            best: whether it is best.pt, too.
            wait: for another thread that is saving; otherwise nothing is done then, and the result is False.

        Raises:
            UserError: it cannot be written.
        """
        if not self._lock.acquire(blocking=wait):
            return False
        try:
            self._save(content, best)
        finally:
            self._lock.release()
        return True

    def _save(self, content: dict[str, Any], best: bool) -> None:
        path = self.folder / f"step-{content['progress']['step']:08d}.pt"
        checkpoint.save(content, path)
        try:
            # The best one first: last.pt, which says how good it was, must never be ahead of it.
            for name in ("best.pt", "last.pt") if best else ("last.pt",):
                _name_too(path, self.folder / name)
            for old in _by_age(self.folder)[self._keep :]:
                old.unlink()
            for left in self.folder.glob("*.pt.partial"):  # of a process that was killed; only one writes here
                left.unlink()
        except OSError as error:
            raise UserError(
                f"checkpoint {path}: cannot be named or an old one deleted ({error}); look into the folder"
            ) from error
        self._saved_s = time.monotonic()


def newest(folder: Path, what: str) -> tuple[Path, dict[str, Any], list[str]] | None:
    """Reads the newest checkpoint of a run folder that is whole; None where there is none at all.

    Args:
        folder: the run folder.
        what: the flag that led here, for messages.

    Returns:
        Its path, its content, and a line for each newer one that is damaged.

    Raises:
        UserError: all are damaged.
    """
    candidates = [folder / "last.pt", *_by_age(folder), folder / "best.pt"]
    candidates = [path for path in candidates if path.exists()]
    problems: list[str] = []
    for path in candidates:
        try:
            return path, checkpoint.load(path, what), problems
        except UserError as error:
            problems.append(str(error).removeprefix(f"{what} "))
    if not candidates:
        return None
    raise UserError(f"{what}: no checkpoint in {folder} is whole: {problems[0]}; start anew in another folder")


def _by_age(folder: Path) -> list[Path]:
    """Returns the step-*.pt, the one written last first: after a run went back, it need not have the highest number."""
    paths = [(path.stat().st_mtime_ns, path.name, path) for path in folder.glob("step-*.pt")]
    return [path for _, _, path in sorted(paths, reverse=True)]


def _name_too(path: Path, name: Path) -> None:
    """Gives a file a second name, in place of whatever had it."""
    partial = name.with_name(name.name + ".partial")
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()
    try:
        os.link(path, partial)
    except OSError:  # a file system without links
        shutil.copyfile(path, partial)
        checkpoint.sync(partial)
    os.replace(partial, name)
    checkpoint.sync(name.parent)
