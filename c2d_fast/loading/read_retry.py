"""Before a video is called broken it is read again: what the storage has done to it is waited out, and not held against it."""

from collections.abc import Callable, Mapping

import numpy as np

from c2d_fast.loading.sample_info import SingleSample
from c2d_fast.loading.sample_problems import StepSlot
from c2d_fast.loading.source import ClipSource
from c2d_fast.manifest.videos import Videos
from c2d_fast.video.storage import is_storage_error
from c2d_fast.video.storage_wait import MOST_TRIES, StorageWait, WaitPolicy, wait_for


class ReadRetry:
    """What becomes of the samples of one batch that could not be read, until all of it can."""

    def __init__(self, wait_policy: WaitPolicy):
        self._wait_policy = wait_policy
        self._failed: set[int] = set()  # videos that have not decoded once
        self._tries = 0  # at files that can be read, and then were not
        self.heartbeat: Callable[[str], None] = lambda doing: None
        """Called again and again while a storage is waited for."""
        self._new_wait()

    def _new_wait(self) -> None:
        self._wait = StorageWait(self._wait_policy, lambda: self.heartbeat("while it waited for the storage"))

    def confirm(self, problems: Mapping[StepSlot, str], source_at: Callable[[StepSlot], ClipSource]) -> dict[StepSlot, str]:
        """Returns what is wrong with samples that really cannot be used; the others are to be read again.

        Args:
            problems: why each was not read, by step and slot.
            source_at: gives a source whose first sample is that one.

        Raises:
            EndedError: the storage does not come back.
        """
        found: dict[StepSlot, str] = {}
        unread: dict[StepSlot, str] = {}
        sources = {key: source_at(key) for key in problems}
        videos = {key: source.plan.index(*key) for key, source in sources.items()}
        for key, problem in problems.items():
            text = problem
            if not is_storage_error(text) and videos[key] not in self._failed:
                self._failed.add(videos[key])
                text = text_of(sources[key](SingleSample())[-1])
            if is_storage_error(text):
                unread[key] = text
            elif text:
                found[key] = text
        if unread:
            found |= self._still_unread(unread, videos, next(iter(sources.values())).plan.videos)
        return found

    def _still_unread(
        self, unread: Mapping[StepSlot, str], videos: Mapping[StepSlot, int], listed: Videos
    ) -> dict[StepSlot, str]:
        paths = {key: listed.file(videos[key]) for key in unread}
        suspects = {paths[key]: text for key, text in unread.items()}
        self._tries += 1
        if self._tries > 1:
            self._wait.pause(*next(iter(suspects.items())))
        too_often = self._tries > MOST_TRIES
        left = wait_for(suspects, listed.some_files, self._wait, count_readable=too_often)
        if left:  # the storage is there, but for these files
            self._tries = 0
            self._new_wait()
        return {key: left[path] for key, path in paths.items() if path in left}

    def finish(self) -> None:
        """Says that all of the batch has been read."""
        self._failed.clear()
        self._tries = 0
        self._wait.finish()


def text_of(problem: object) -> str:
    """Returns the text of a problem as a source gives it: UTF-8 in uint8."""
    return np.array(problem).tobytes().decode(errors="replace")
