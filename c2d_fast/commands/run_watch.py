"""`predict --watch`: a folder that grows. Each new video is scored once, and its result stands beside it."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from c2d_fast.console import result
from c2d_fast.errors import UserError, on_one_line
from c2d_fast.files import atomic_write
from c2d_fast.formats.schemas import ShapeError, decode_object, encode
from c2d_fast.video.video_files import SkippedFiles, files_below, videos_by_suffix

SUFFIX = ".predictions.json"
_POLL_S = 2.0

State = tuple[int, int]
"""Bytes and modification time, ns, of a file."""


def check_folder(folder: Path) -> None:
    """Says early that a folder cannot be watched.

    Raises:
        UserError: it is none, or results cannot be written into it.
    """
    if not os.path.isdir(folder):
        raise UserError(f"--watch {folder}: is no folder; give the one that videos come into")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"--watch {folder}: is not writable, and each result stands beside its video; give another folder")


def watch(folder: Path, score: Callable[[Sequence[Path]], list[dict[str, Any]]], *, poll_s: float = _POLL_S) -> NoReturn:
    """Scores what is in a folder and what comes into it, until a signal ends the command.

    A file counts as come once it has not changed from one look to the next. One that changes later is scored again.

    Args:
        folder: and all folders below it.
        score: scores videos; a dict for each, in their order.
        poll_s: seconds between two looks.

    Raises:
        UserError: a result cannot be written.
    """
    seen: dict[Path, State] = {}
    print(f"watching {folder}: each video's result is written beside it, as NAME{SUFFIX}; Ctrl-C ends it", flush=True)
    while True:
        now = dict(_waiting(folder))
        settled = [path for path, state in now.items() if seen.get(path) == state]
        if settled:
            for path, found in zip(settled, score(settled), strict=True):
                _write(path, now[path], found)
        seen = {path: state for path, state in now.items() if path not in settled}
        if not settled:
            time.sleep(poll_s)


def _waiting(folder: Path) -> Iterator[tuple[Path, State]]:
    """Yields the videos that have no result of their present state."""
    for name in videos_by_suffix(files_below(folder), SkippedFiles()):
        path = folder / name
        try:
            stat = path.stat()
        except OSError:  # it has gone meanwhile
            continue
        if stat.st_size and _scored_state(path) != (stat.st_size, stat.st_mtime_ns):
            yield path, (stat.st_size, stat.st_mtime_ns)


def _scored_state(path: Path) -> State | None:
    """Returns the state of a video that its result was made of; None without a result."""
    try:
        found = decode_object(_result_of(path).read_bytes())
    except (OSError, ShapeError):
        return None
    return found.get("size", -1), found.get("mtime_ns", -1)


def _result_of(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def _write(path: Path, state: State, found: dict[str, Any]) -> None:
    target = _result_of(path)
    try:
        with atomic_write(target) as partial:
            partial.write_text(encode({"size": state[0], "mtime_ns": state[1], **found}, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"--watch: {target} cannot be written ({error.strerror}); free the disk, and start again") from error
    best = found.get("predictions")
    what = found.get("error") or ", ".join(f"{one['class']} ({100 * one['probability']:.0f} %)" for one in (best or [])[:1])
    result(on_one_line(f"{path}: {what or 'no class reaches its threshold'}"))
