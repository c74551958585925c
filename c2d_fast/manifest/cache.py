"""What is known of a data root's videos, kept in a file in the user's cache folder.

An entry stands as long as the video's size and modification time do.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from c2d_fast.files import cache_folder
from c2d_fast.formats.checksums import add_checksum, strip_checksum
from c2d_fast.formats.schemas import CacheFile, ShapeError, decode, is_cache_entry
from c2d_fast.remote.remote_path import FileState, Location
from c2d_fast.video.facts import Facts

FORMAT = "c2d_fast.cache/7"
_MOST_BYTES = 512 * 2**20


class Cache:
    """One data root's entries on disk: relative path -> [size, mtime_ns, fields of Facts]."""

    def __init__(self, root: Location):
        """Reads what is known of a data root, if anything is."""
        self.root = str(root.resolve() if isinstance(root, Path) else root)
        folder, name = cache_folder(), f"manifest-{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]}.json"
        self.path = folder / name if folder else None
        self._videos: dict[str, Any] = {}
        # None, or none of ours, or damaged: everything is read again.
        with contextlib.suppress(OSError, ShapeError):
            if self.path and self.path.stat().st_size <= _MOST_BYTES:
                text, has_sum = strip_checksum(self.path.read_bytes())
                content = decode(text, CacheFile, _MOST_BYTES)
                if has_sum and content.format == FORMAT and content.root == self.root:
                    self._videos = content.videos

    def get(self, video: str, state: FileState) -> Facts | None:
        """Returns what is known of a video in a state."""
        size, mtime_ns, *values = self._videos.get(video, (None, None))
        return Facts(*values) if (size, mtime_ns) == tuple(state[:2]) else None

    def put(self, video: str, state: FileState, facts: Facts) -> None:
        """Takes what is known of a video."""
        entry = [*state[:2], *dataclasses.astuple(facts)]
        if is_cache_entry(entry):  # a file may claim anything, and is read again then
            self._videos[video] = entry

    def save(self) -> None:
        """Writes the file, if there is a place for it."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_suffix(f".{os.getpid()}.partial")
            partial.write_bytes(add_checksum(json.dumps({"format": FORMAT, "root": self.root, "videos": self._videos})))
            os.replace(partial, self.path)  # a run that reads it meanwhile sees the old or the new one
        except OSError as error:
            print(f"note: {self.path} cannot be written ({error.strerror}); the next run reads these videos again")
