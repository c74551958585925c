"""Waits for a storage that is gone, longer and longer, until it is back or has been waited for long enough."""

import errno
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tqdm import tqdm

from c2d_fast.errors import EXIT_START_AGAIN, EndedError, on_one_line
from c2d_fast.remote.remote_path import Location, is_url
from c2d_fast.video.storage import is_definite, is_storage_error, nearby_files, read_error, storage_responds, text_of_error

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_TRIES = 8
"""How often a file may be found to be there, and then not be read again."""
_ALONE_S, _ALONE_UNCLEAR_S = 5.0, 60.0
"""How long a file is waited for while others beside it can be read: it is not there, or something else is the matter."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_SLICE_S = 0.5
_LOOKED_AT = 32


@dataclass(frozen=True)
class WaitPolicy:
    """How long a storage is waited for, and what is to be done when it does not come back."""

    limit_s: float = 300.0
    remedy: str = "run the command again once it is back"


DEFAULT_WAIT_POLICY = WaitPolicy()


class StorageWait:
    """Waits for a storage, longer and longer each time."""

    def __init__(self, wait_policy: WaitPolicy, heartbeat: Callable[[], object] = lambda: None):
        """Prepares a wait; it begins with the first pause.

        Args:
            wait_policy: how long.
            heartbeat: called again and again while it waits.
        """
        self.wait_policy, self._heartbeat = wait_policy, heartbeat
        self._began_s, self._pauses_s, self._said = 0.0, iter([0.0]), False

    @property
    def elapsed_s(self) -> float:
        """Returns how long it has been waited for; 0 before the first pause."""
        return time.monotonic() - self._began_s if self._began_s else 0.0

    def pause(self, path: str | Location, why: str, *, say: bool = True) -> None:
        """Waits a while.

        Args:
            path: what cannot be read.
            why: in the storage's words.
            say: whether this may be said; it is said once.

        Raises:
            EndedError: it has been waited for long enough.
        """
        if not self._began_s:
            self._began_s = time.monotonic()
            self._pauses_s = (min(_FIRST_PAUSE_S * 2 ** min(n, 10), _LONGEST_PAUSE_S) for n in itertools.count())
        limit_s, remedy = self.wait_policy.limit_s, self.wait_policy.remedy
        left_s = limit_s - self.elapsed_s
        if left_s <= 0:
            raise EndedError(
                f"storage: {path}: {why}, for {limit_s:g} s by now; no video is quarantined for that: {remedy}",
                EXIT_START_AGAIN,
            )
        if say and not self._said:
            self._said = True
            tqdm.write(f"waiting for storage: {on_one_line(str(path))}: {why}")
        until_s = time.monotonic() + min(next(self._pauses_s), left_s)
        while (rest_s := until_s - time.monotonic()) > 0:
            self._heartbeat()
            time.sleep(min(rest_s, _SLICE_S))
        self._heartbeat()

    def finish(self) -> None:
        """Says that reading goes on, if it was said that it does not. The next pause begins another wait."""
        if self._said:
            tqdm.write(f"storage is back after {self.elapsed_s:.0f} s")
        self._began_s, self._said = 0.0, False


def wait_for(
    suspects: Mapping[str, str],
    files: Callable[[], Iterable[str]],
    wait: StorageWait,
    *,
    whole: bool = True,
    count_readable: bool = False,
) -> dict[str, str]:
    """Waits until each of some files can be read, or turns out to be the only one around that cannot.

    Args:
        suspects: path -> why it was not read.
        files: gives all paths of the list.
        wait: goes on, if it has begun.
        whole: whether they must be readable to their end.
        count_readable: whether files that can be read count as such that cannot: they have been found readable often enough,
            and then were not.

    Returns:
        The latter: path -> why.

    Raises:
        EndedError: a file cannot be read, nor others beside it, and it was waited for long enough.
    """
    left, near, alone_since_s = dict(suspects), dict[str, list[str]](), math.inf
    while True:
        problems = {path: read_error(path, whole=whole) for path in left}
        left = {
            path: text_of_error(problem) if problem else left[path]
            for path, problem in problems.items()
            if problem or count_readable
        }
        if not left:
            return {}
        for path in left.keys() - near.keys():
            near[path] = nearby_files(path, (file for file in files() if file not in left))
        are_alone, now_s = all(any(map(storage_responds, near[path])) for path in left), time.monotonic()
        alone_since_s = min(alone_since_s, now_s) if are_alone else math.inf
        bearable_s = max(_max_wait_s(problems[path]) for path in left)
        if now_s - alone_since_s >= min(bearable_s, wait.wait_policy.limit_s / 2):
            return left
        path, why = next(iter(left.items()))
        wait.pause(path, why, say=not are_alone or now_s - alone_since_s > _ALONE_S)


def wait_for_paths(paths: Iterable[str], wait_policy: WaitPolicy) -> None:
    """Waits until files can be read and folders be listed; not for what a server says is not there: that may be a folder.

    Raises:
        EndedError: one cannot, and it was waited for long enough.
    """
    wait = StorageWait(wait_policy)
    for path in paths:
        while (problem := read_error(path)) and not (is_url(path) and problem.errno == errno.ENOENT):
            wait.pause(path, text_of_error(problem))
    wait.finish()


def _max_wait_s(problem: OSError | None) -> float:
    """Returns how long a file is waited for while others beside it can be read, in seconds."""
    return _ALONE_S if problem is None or is_definite(problem) else _ALONE_UNCLEAR_S


def read_in_rounds(
    read: Callable[[list[Item]], Iterable[tuple[Item, Result]]],
    items: Iterable[Item],
    *,
    path: Callable[[Item], Location],
    reason: Callable[[Result], str],
    wait_policy: WaitPolicy,
) -> Iterator[tuple[Item, Result]]:
    """Yields what reading items gives; those that the storage kept from being read are read again once it is back.

    Args:
        read: yields (item, result) for some of them.
        items: all of them.
        path: gives an item's file.
        reason: gives why an item was not read, "" if it was; of storage_problem where it is the storage's.
        wait_policy: with the storage.

    Raises:
        EndedError: it does not come back.
    """
    wait, todo = StorageWait(wait_policy), list(items)
    files = [str(path(item)) for item in todo]
    for tries in itertools.count(1):
        unread: list[tuple[Item, Result]] = []
        for item, result in read(todo):
            if is_storage_error(reason(result)):
                unread.append((item, result))
            else:
                yield item, result
        if tries >= MOST_TRIES and len(unread) < len(todo):  # others are read; these could have been, and are not
            yield from unread
            unread = []
        if not unread:
            break
        if tries > 1:
            item, result = unread[0]
            wait.pause(path(item), reason(result))
        some = unread[:: -(-len(unread) // _LOOKED_AT)]
        left = wait_for({str(path(item)): reason(result) for item, result in some}, lambda: files, wait)
        yield from ((item, result) for item, result in unread if str(path(item)) in left)
        todo = [item for item, _ in unread if str(path(item)) not in left]
        if left:
            wait = StorageWait(wait_policy)
    wait.finish()
