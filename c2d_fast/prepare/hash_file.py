"""What has been hashed stays in a file beside the list: the same command reads only videos that are new or have changed."""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from c2d_fast.console import shows_bars
from c2d_fast.formats.journal import Journal
from c2d_fast.formats.schemas import hash_entry
from c2d_fast.prepare.checked_lists import CheckedVideo
from c2d_fast.prepare.packet_hash import Hashed
from c2d_fast.prepare.watched import in_watched_rounds

_SAY_EVERY_S = 30.0


class HashFile:
    """Hashes of videos, each as it is made; locked, so that two commands do not make them at once."""

    def __init__(self, path: Path, header: str):
        """Opens or begins the file; one with another header is begun anew.

        Raises:
            UserError: it cannot be written, or another command is at it.
        """
        self._journal = Journal(path, {"format": header}, f"--hashes {path}", entry=hash_entry)
        self._known: dict[tuple[str, str, int, int], tuple[str, ...]] = {}
        for place, size, mtime_ns, what, values in self._journal.entries:
            self._known[what, place, size, mtime_ns] = tuple(values)
        self._journal.entries.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._journal.__exit__(kind, error, trace)

    def hashed(
        self,
        what: str,
        work: Callable[[CheckedVideo, Callable[[], None]], Hashed],
        videos: Sequence[CheckedVideo],
        args: argparse.Namespace,
    ) -> dict[int, Hashed]:
        """Returns what work gives of each video, by its number; of those that are known nothing is read.

        Args:
            what: packets or frames: what is hashed.
            work: runs in child processes; that one of them crashes or hangs is a reason, too.
            videos: the videos.
            args: the command's flags: jobs and time_limit.
        """
        found = {video.number: Hashed(known) for video in videos if (known := self._known.get((what, *video.key)))}
        todo = [video for video in videos if video.number not in found]
        if found and todo:
            print(f"{what} of {len(found)} of {len(videos)} videos are known: {len(todo)} are read")
        started_s = said_s = time.monotonic()
        results = in_watched_rounds(work, todo, args, lambda video: video.path)
        with tqdm(total=len(todo), unit="video", disable=not shows_bars(), leave=False) as bar, closing(results):  # type: ignore[type-var]
            for count, (video, result) in enumerate(results, start=1):
                found[video.number] = self._keep(what, video, result)
                bar.update()
                now_s = time.monotonic()
                if not shows_bars() and now_s - said_s > _SAY_EVERY_S:
                    said_s = now_s
                    left_s = (now_s - started_s) / count * (len(todo) - count)
                    print(f"{what} of {count} of {len(todo)} videos read, about {tqdm.format_interval(left_s)} left")
        return found

    def _keep(self, what: str, video: CheckedVideo, result: Any) -> Hashed:
        if result.reason:  # also a children.LostItem; tried again each time, since its cause may have been mended
            return Hashed(reason=result.reason)
        place, size, mtime_ns = video.key
        self._known[what, place, size, mtime_ns] = result.values
        self._journal.add([place, size, mtime_ns, what, result.values])
        return Hashed(result.values)
