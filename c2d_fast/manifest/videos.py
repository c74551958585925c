"""A list's usable videos as arrays: what plans, decoders and workers need to know of them. Numpy only."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.processes.shared_arrays import SharedArrays, map_arrays
from c2d_fast.remote.remote_path import FileState, Location, is_url, join, location

_SHARED_BYTES = 2**20  # from here on arrays are shared with the workers


@dataclass(frozen=True, kw_only=True)
class Videos:
    """What a plan and a decoder need to know of the videos, one element each, broken ones left out.

    Pickled for the workers of a loader, a long list is shared with them and not copied.
    """

    root: str
    """The folder that the paths are relative to."""
    paths: NDArray[np.uint8]
    """All paths one after another, UTF-8."""
    path_ends: NDArray[np.int64]
    num_frames: NDArray[np.int64]
    width: NDArray[np.int64]
    height: NDArray[np.int64]
    labels: NDArray[np.int64]
    stored: NDArray[Any]
    """Columns of facts.reading_columns that say how each is stored."""
    size: NDArray[np.int64]
    """Bytes of the file when it was examined."""
    mtime_ns: NDArray[np.int64]
    """When it had been written last; -1 where that is not compared."""
    packet_table: str = ""
    """The file that says where each packet lies, if there is one, and the identity of the manifest that it belongs to."""
    table_identity: str = ""
    table_indices: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Each video's index in that table."""

    etags: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    etag_ends: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Of remote videos, as the paths; none of a list without."""

    def __len__(self) -> int:
        return len(self.path_ends)

    def file(self, index: int) -> str:
        """Returns the video's path on disk, or its URL."""
        return join(self.root, _text(self.paths, self.path_ends, index))

    def location(self, index: int) -> Location:
        """Returns where the video is; a remote one with the state that it was examined in, which all reading holds to."""
        file = self.file(index)
        if not is_url(file):
            return Path(file)
        etag = _text(self.etags, self.etag_ends, index) if len(self.etag_ends) else ""
        return location(file, FileState(*self.state(index), etag))

    def state(self, index: int) -> tuple[int, int]:
        """Returns the video's size and mtime_ns when it was examined."""
        return int(self.size[index]), int(self.mtime_ns[index])

    @cached_property
    def has_remote(self) -> bool:
        """Whether some of them, by the first of them, are behind URLs."""
        return len(self) > 0 and (is_url(self.root) or is_url(self.file(0)))

    @cached_property
    def digest(self) -> str:
        """Returns a hash of which videos these are, in which order, with what labels; wherever they lie."""
        sha256 = hashlib.sha256(self.paths.tobytes() + self.path_ends.astype("<i8").tobytes())
        for array in (self.num_frames, self.labels):
            sha256.update(array.astype("<i8").tobytes())
        return sha256.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        arrays = {name: value for name, value in self.__dict__.items() if isinstance(value, np.ndarray)}
        texts = {name: value for name, value in self.__dict__.items() if isinstance(value, str)}
        if sum(array.nbytes for array in arrays.values()) < _SHARED_BYTES:
            return arrays | texts
        try:
            return texts | {"shared": self._shared.handle}
        except OSError:  # no memory files here: each worker gets its copy
            return arrays | texts

    def __setstate__(self, state: dict[str, Any]) -> None:
        shared = state.pop("shared", None)
        self.__dict__.update(state | (map_arrays(shared) if shared else {}))

    @cached_property
    def _shared(self) -> SharedArrays:
        shared = SharedArrays({name: value for name, value in self.__dict__.items() if isinstance(value, np.ndarray)})
        self.__dict__.update(map_arrays(shared.handle))  # the same numbers, held once
        return shared


def _text(texts: NDArray[np.uint8], ends: NDArray[np.int64], index: int) -> str:
    start = ends[index - 1] if index else 0
    return texts[start : ends[index]].tobytes().decode(errors="surrogateescape")


def pack_paths(paths: Iterable[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns paths and path_ends of Videos."""
    # NUL, which no path can hold, marks the ends: no object is made for each of very many paths.
    texts = list(paths)
    if not texts:
        return np.zeros(0, np.uint8), np.zeros(0, np.int64)
    text = np.frombuffer(("\0".join(texts) + "\0").encode(errors="surrogateescape"), np.uint8)
    marks = np.flatnonzero(text == 0)
    return text[text != 0], marks - np.arange(len(marks))
