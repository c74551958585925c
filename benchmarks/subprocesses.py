"""Runs commands of the project in processes of their own: all that they print is read, and none runs for ever."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LIMIT_S = 6 * 3600.0
"""For the longest of them, a training of the demo on a slow machine, many times over."""
_END_LIMIT_S = 10.0


def run_python(*words: Any, cwd: Path | None = None) -> str:
    """Runs `python WORDS...`, as run() does."""
    return run([sys.executable, *words], cwd=cwd)


def run(words: Sequence[Any], *, cwd: Path | None = None, limit_s: float = LIMIT_S) -> str:
    """Runs a command, which must succeed; returns what it prints on stdout.

    Args:
        words: of the command line.
        cwd: folder that it runs in; None: this one.
        limit_s: after which it is ended, with all that it has started.

    Raises:
        SystemExit: it fails or is ended; says what it printed on stderr.
    """
    command = list(map(str, words))
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=cwd, text=True, process_group=0, **pipes) as process:  # type: ignore[call-overload]
        try:
            out, said = process.communicate(timeout=limit_s)
        except BaseException as error:
            end_group(process)
            if isinstance(error, subprocess.TimeoutExpired):
                sys.exit(f"error: {' '.join(command)}: took longer than {limit_s:.0f} s, and was ended")
            raise
    if process.returncode:
        sys.exit(said.strip() or f"error: {' '.join(command)}: ended with exit code {process.returncode}")
    return str(out)


def end_group(process: "subprocess.Popen[str]") -> None:
    """Ends a process that leads a group, and the group: what it has started would hold its output open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # one that waits for a dead disk cannot be ended, and is left behind
        process.wait(_END_LIMIT_S)
