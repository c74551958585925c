"""Knows every video's frames, size and codec before a run starts: read once, kept in the user's cache folder.

One cache file holds what is known of one data root. An entry stands as long as the file's size and modification time do.
"""

import dataclasses
import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from c2d_fast.console import shows_bars
from c2d_fast.errors import UserError
from c2d_fast.listing import Listing
from c2d_fast.plan import Videos
from c2d_fast.video import DecodeError, VideoInfo, read_info

_FORMAT = "c2d_fast.manifest/3"
_SAVE_EVERY_S = 60.0


@dataclass(frozen=True)
class Manifest:
    """A list's videos that can be used, and those that cannot."""

    listing: Listing
    kept: tuple[int, ...]
    """Places in the list of the videos that can be used; every array below is in this order."""
    infos: tuple[VideoInfo, ...]
    broken: dict[int, str]
    """Place in the list -> why it cannot be used (missing files included)."""

    def videos(self) -> Videos:
        """Returns what plans and decoders need, for the usable videos only."""
        return Videos(
            files=tuple(str(self.listing.file(i)) for i in self.kept),
            num_frames=np.array([info.num_frames for info in self.infos], np.int64),
            width=np.array([info.width for info in self.infos], np.int64),
            height=np.array([info.height for info in self.infos], np.int64),
            labels=np.array([self.listing.labels[i] for i in self.kept], np.int64),
        )

    def where(self, index: int) -> str:
        """Returns `list.txt:12: path.mp4` for a usable video's index."""
        return self.listing.where(self.kept[index])


def read_manifest(listing: Listing, *, allow_missing: bool, jobs: int) -> Manifest:
    """Looks up every video of a list, reading through those that are new or have changed.

    Args:
        listing: the list.
        allow_missing: report missing files as broken instead of refusing the list.
        jobs: files read at a time.

    Raises:
        UserError: a file is missing and allow_missing is false.
    """
    states = {i: state for i in range(len(listing)) if (state := _state(listing.file(i)))}
    missing = [i for i in range(len(listing)) if i not in states]
    if missing and not allow_missing:
        more = f" (and {len(missing) - 1} more of the list's {len(listing)})" if len(missing) > 1 else ""
        raise UserError(
            f"{listing.where(missing[0])}: no such file below {listing.root}{more}; correct the list or the data root, "
            "or go on without with --allow-missing"
        )
    cache = _Cache(listing.root)
    entries: dict[int, VideoInfo | str] = dict.fromkeys(missing, "no such file")
    entries |= {i: info for i, state in states.items() if (info := cache.get(listing.videos[i], state))}
    entries |= _read_all(listing, {i: state for i, state in states.items() if i not in entries}, jobs, cache)
    infos = {i: entry for i, entry in sorted(entries.items()) if isinstance(entry, VideoInfo)}
    broken = {i: entry for i, entry in sorted(entries.items()) if isinstance(entry, str)}
    return Manifest(listing, tuple(infos), tuple(infos.values()), broken)


def cache_folder() -> Path:
    """Returns where manifests are kept: $XDG_CACHE_HOME/c2d_fast, or ~/.cache/c2d_fast."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "c2d_fast"


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _read(path: Path) -> VideoInfo | str:
    try:
        return read_info(path)
    except DecodeError as error:
        return str(error)


def _read_all(listing: Listing, unread: dict[int, tuple[int, int]], jobs: int, cache: "_Cache") -> dict[int, VideoInfo | str]:
    if not unread:
        return {}
    print(f"reading {len(unread)} of {len(listing)} videos of {listing.path} once ({cache.path} keeps the result)")
    entries: dict[int, VideoInfo | str] = {}
    # Threads do: FFmpeg reads and decodes without holding Python's lock.
    pool = ThreadPoolExecutor(max(jobs, 1))
    try:
        results = pool.map(_read, [listing.file(i) for i in unread])
        bar = tqdm(results, total=len(unread), unit="video", disable=not shows_bars(), leave=False)
        saved = time.monotonic()
        for i, entry in zip(unread, bar, strict=True):
            entries[i] = entry
            if isinstance(entry, VideoInfo):  # a broken file is tried again each time: its cause may have been mended
                cache.put(listing.videos[i], unread[i], entry)
            if time.monotonic() - saved > _SAVE_EVERY_S:
                cache.save()
                saved = time.monotonic()
    finally:  # also when interrupted: what was read is kept
        pool.shutdown(cancel_futures=True)
        cache.save()
    return entries


def _is_entry(entry: Any) -> bool:
    """Says whether an entry of the cache is whole: [size, mtime_ns, fields of VideoInfo]."""
    kinds = [int, int, *(field.type for field in dataclasses.fields(VideoInfo))]
    return isinstance(entry, list) and [type(value) for value in entry] == kinds


class _Cache:
    """One data root's entries on disk: relative path -> [size, mtime_ns, fields of VideoInfo]."""

    def __init__(self, root: Path):
        self.root = str(root.resolve())
        self.path = cache_folder() / f"manifest-{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]}.json"
        self._videos: dict[str, list[Any]] = {}
        try:
            content = json.loads(self.path.read_text())
            if content["format"] == _FORMAT and content["root"] == self.root:
                self._videos = {video: entry for video, entry in content["videos"].items() if _is_entry(entry)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass  # no cache, or none of ours: everything is read again

    def get(self, video: str, state: tuple[int, int]) -> VideoInfo | None:
        size, mtime_ns, *fields = self._videos.get(video, (None, None))
        return VideoInfo(*fields) if (size, mtime_ns) == state else None

    def put(self, video: str, state: tuple[int, int], info: VideoInfo) -> None:
        self._videos[video] = [*state, *dataclasses.astuple(info)]

    def save(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_suffix(f".{os.getpid()}.partial")
            partial.write_text(json.dumps({"format": _FORMAT, "root": self.root, "videos": self._videos}))
            os.replace(partial, self.path)  # a run that reads it meanwhile sees the old or the new one
        except OSError as error:
            print(f"note: {self.path} cannot be written ({error.strerror}); the next run reads these videos again")
