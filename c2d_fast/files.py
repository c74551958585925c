"""Files that are written whole or not at all, and where those are that may be deleted."""

import contextlib
import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from c2d_fast.errors import UserError


def cache_folder() -> Path | None:
    """Returns where results of costly reading are kept: $XDG_CACHE_HOME/c2d_fast, or ~/.cache/c2d_fast; None without a home."""
    with contextlib.suppress(RuntimeError):
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "c2d_fast"
    return None


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Gives a name beside path to write to; the file gets its final name at the end, or goes away if something fails."""
    partial = path.with_name(f".{path.name[:150]}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):  # mostly not there: it has been given its final name
            partial.unlink()


def remove_partials(*paths: Path) -> None:
    """Removes what atomic_write of these files has left where its process was killed; nobody else may be writing them."""
    for path in paths:
        for left in path.parent.glob(f".{glob.escape(path.name[:150])}.*.partial"):
            if left.name.split(".")[-2].isdecimal():
                left.unlink(missing_ok=True)


def check_is_no_input(path: Path, what: str, inputs: Iterable[Path | str | None]) -> None:
    """Says of a file that is to be written that it is one of those that are read, links included.

    Raises:
        UserError: it is.
    """
    with contextlib.suppress(OSError):  # it is not there: nothing can be lost
        there = os.stat(path)
        for read in inputs:
            with contextlib.suppress(OSError):
                if read and os.path.samestat(there, os.stat(read)):
                    raise UserError(f"{what} {path}: is {read}, which is only read; give another file")


def check_writable(path: Path, what: str) -> None:
    """Says early, without making anything, that a file cannot be written.

    Raises:
        UserError: its folder is missing or not writable, or it is a folder itself.
    """
    if not os.path.isdir(path.parent):
        raise UserError(f"{what} {path}: its folder does not exist; make it first")
    if os.path.isdir(path):
        raise UserError(f"{what} {path}: is a folder; give the name of a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"{what} {path}: cannot be written, its folder is not writable; give another file")
