"""Finds the files that lines of a list mean, where a line leaves open in which folder and of which kind they are."""

import os
from contextlib import suppress
from functools import cache, cached_property

from c2d_fast.errors import UserError
from c2d_fast.lists.row import Row
from c2d_fast.remote.remote_path import Location, RemotePath
from c2d_fast.remote.transfers import list_files
from c2d_fast.video.video_files import VIDEO_SUFFIXES


class FileFinder:
    """What lies below a data root; each folder is listed once, which takes less than asking for every file."""

    def __init__(self, root: Location):
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

    def _listed(self, folder: str) -> list[str]:
        if not isinstance(self._root, RemotePath):
            return os.listdir(self._root / folder)
        return self._remote.get(folder, [])

    @cached_property
    def _remote(self) -> dict[str, list[str]]:
        """Returns folder -> names of all that is below a remote root; nothing where its server gives no listings."""
        assert isinstance(self._root, RemotePath)
        found: dict[str, list[str]] = {}
        with suppress(UserError):  # then a line's first path is taken
            for path, _ in list_files(self._root):
                folder, name = os.path.split(path)
                found.setdefault(folder, []).append(name)
        return found

    def _list(self, folder: str) -> tuple[frozenset[str], dict[str, str]]:
        """Returns the names in a folder, and those of videos by what is before their suffix."""
        try:
            names = sorted(self._listed(folder), reverse=True)
        except OSError:
            names = []
        parts = [(os.path.splitext(name), name) for name in names]
        return frozenset(names), {stem: name for (stem, suffix), name in parts if suffix.lower() in VIDEO_SUFFIXES}
