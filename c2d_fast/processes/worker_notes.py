"""What loader workers have to tell the user: each thing once, whichever of them finds it first. No torch, no DALI.

Lines in memory that the process which started them can read; it shows them between batches.
"""

import json
import os
from contextlib import suppress
from functools import cache

from tqdm import tqdm

_told: set[str] = set()
_outboxes: list[int] = []
_read_end = [0]


@cache
def inbox() -> str:
    """Returns a path, good while this process lives, that its workers write to; "" where there are no memory files."""
    try:
        return f"/proc/{os.getpid()}/fd/{_inbox_fd()}"
    except OSError:
        return ""


def write_to(path: str) -> None:
    """Called in a worker: from now on it writes there instead of showing."""
    with suppress(OSError):
        if path and not _outboxes:
            _outboxes.append(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))


def tell(subject: str, text: str) -> None:
    """Tells the user a text; of each subject the first one only."""
    if subject in _told:
        return
    _told.add(subject)
    if _outboxes:
        os.write(_outboxes[0], json.dumps([subject, text]).encode() + b"\n")  # one write: lines of several do not mix
    else:
        tqdm.write(text)  # a progress bar may be showing


def show() -> None:
    """Shows what workers of this process have told since the last call."""
    if not inbox():
        return
    while data := os.pread(_inbox_fd(), 2**16, _read_end[0]):
        end = data.rfind(b"\n") + 1
        if not end:
            return
        _read_end[0] += end
        for line in data[:end].splitlines():
            tell(*json.loads(line))


@cache
def _inbox_fd() -> int:
    return os.memfd_create("notes", os.MFD_CLOEXEC)
