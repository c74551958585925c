"""Ends a run that gets no further, and leaves behind what tells why."""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from c2d_fast.errors import EXIT_START_AGAIN, UserError, on_one_line
from c2d_fast.processes import worker_stacks

_CHECK_EVERY_S = 0.5
_SAVE_LIMIT_S = 60.0


class Watchdog:
    """A thread that waits for heartbeats. Without one for too long it writes stall-*.txt, saves and ends the process."""

    def __init__(
        self,
        limit_s: float,
        folder: Path,
        rank: int,
        *,
        videos_being_read: Callable[[], list[str]],
        emergency_save: Callable[[], str],
    ):
        """Prepares the watch; it begins when the object is entered.

        Args:
            limit_s: time without a heartbeat.
            folder: the run folder.
            rank: of this process, for the file's name.
            videos_being_read: returns lines that say which videos are being read.
            emergency_save: saves what can be saved, and says what it has done; it may hang, too.
        """
        self._limit_s, self._folder, self._rank = limit_s, folder, rank
        self._videos_being_read, self._emergency_save = videos_being_read, emergency_save
        self._doing, self._heartbeats = "starting", 0
        self._end = threading.Event()

    def heartbeat(self, doing: str) -> None:
        """Says that the run gets on, and what it does next."""
        self._doing = doing
        self._heartbeats += 1

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end.set()

    def _watch(self) -> None:
        seen, still_s, checked_s = -1, 0.0, time.monotonic()
        while not self._end.wait(_CHECK_EVERY_S):
            now_s = time.monotonic()
            # Time in which this thread, too, stood still (Ctrl-Z, a machine asleep) is not the run's fault.
            still_s += min(now_s - checked_s, 4 * _CHECK_EVERY_S)
            checked_s = now_s
            if self._heartbeats != seen:
                seen, still_s = self._heartbeats, 0.0
            if still_s > self._limit_s:
                self._end_the_run(f"no progress for {self._limit_s:g} s (--stall-minutes)")

    def _end_the_run(self, why: str) -> None:
        path = self._folder / f"stall-{time.strftime('%Y%m%d-%H%M%S')}-rank{self._rank}.txt"
        self._saved = "nothing could be saved"
        # In threads: a file system that hangs is a likely cause, and would stop this one, too.
        for work in (lambda: self._write(path, why), self._save):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            thread.join(_SAVE_LIMIT_S)
        said = (
            f"{why} {self._doing}: stacks of all threads and workers, and the "
            f"videos that they read, are in {path}; {self._saved}; start again with --resume auto"
        )
        print(on_one_line(said), file=sys.stderr, flush=True)
        os._exit(EXIT_START_AGAIN)

    def _save(self) -> None:
        try:
            self._saved = self._emergency_save()
        except UserError as error:  # a full disk
            self._saved = f"nothing could be saved: {error}"

    def _write(self, path: Path, why: str) -> None:
        with suppress(OSError), path.open("w", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%F %T')} {why} {self._doing}\n")
            self._write_videos(file)
            file.write(f"\nThreads of this process ({os.getpid()}):\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
            file.write("\nWorkers:\n" + worker_stacks.collect_stacks())

    def _write_videos(self, file: TextIO) -> None:
        for line in self._videos_being_read():
            file.write(on_one_line(line) + "\n")
