"""Finds the files that lines of a list mean, where a line leaves open in which folder and of which kind they are."""

import os
from functools import cache
from pathlib import Path

from c2d_fast.lists.list_shapes import Row
from c2d_fast.video.video_files import VIDEO_SUFFIXES


class FileFinder:
    """What lies below a data root; each folder is listed once, which takes less than asking for every file."""

    def __init__(self, root: Path):
        """Looks below root, when asked."""
        self._root = root
        self._names = cache(self._list)

    def find(self, row: Row) -> str | None:
        """Returns the first of a row's paths that is there, or else is there with the suffix of another container; or None."""
        parts = [os.path.split(path) for path in row.paths]
        for path, (folder, name) in zip(row.paths, parts, strict=True):
            if name in self._names(folder)[0]:
                return path
        for folder, name in parts if row.any_suffix else ():
            if found := self._names(folder)[1].get(os.path.splitext(name)[0]):
                return os.path.join(folder, found)
        return None

    def _list(self, folder: str) -> tuple[frozenset[str], dict[str, str]]:
        """Returns the names in a folder, and those of videos by what is before their suffix."""
        try:
            names = sorted(os.listdir(self._root / folder), reverse=True)
        except OSError:
            names = []
        parts = [(os.path.splitext(name), name) for name in names]
        return frozenset(names), {stem: name for (stem, suffix), name in parts if suffix.lower() in VIDEO_SUFFIXES}
