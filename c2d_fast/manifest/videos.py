"""A list's usable videos as arrays: what plans, decoders and workers need to know of them. Numpy only."""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.formats.label_sets import LabelSets
from c2d_fast.formats.texts import Texts
from c2d_fast.processes.shared_arrays import SharedArrays, map_arrays
from c2d_fast.remote.remote_path import FileState, Location, is_url, join, location

_CHUNK = 2**16  # videos that are hashed at a time
_ASKED = 2**17  # files, about
_SHARED_BYTES = 2**19  # from here on arrays are shared with the workers


@dataclass(frozen=True, kw_only=True)
class Videos:
    """What a plan and a decoder need to know of the videos, broken ones left out.

    One element of each array is a video's; of long lists there is but one copy of most: with rows, video i is element rows[i]
    of paths, stored, size, mtime_ns and etags, which have one for each of the list's.

    Pickled for the workers of a loader, a long list is shared with them and not copied.
    """

    root: str
    """The folder that the paths are relative to."""
    paths: NDArray[np.uint8]
    """All paths one after another, UTF-8."""
    path_ends: NDArray[np.int64]
    num_frames: NDArray[Any]
    """Integers, as of the next three."""
    width: NDArray[Any]
    height: NDArray[Any]
    labels: NDArray[Any]
    """-1 where there is none; of several the heaviest."""
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
    rows: NDArray[np.int64] | None = None
    """See above; also each video's index in the packet table."""
    shared: dict[str, SharedArrays] = field(default_factory=dict)
    """Which of the arrays are shared already, and where."""
    label_sets: LabelSets | None = None
    """All labels, where the list gives any number of them. Workers need none: pickled, Videos are without."""

    def __len__(self) -> int:
        return len(self.num_frames)

    def file(self, index: int) -> str:
        """Returns the video's path on disk, or its URL."""
        return join(self.root, _text(self.paths, self.path_ends, self.row(index)))

    def some_files(self) -> Iterator[str]:
        """Yields all the files, or of a very long list some, evenly spread: for those that ask what lies near one of them."""
        return map(self.file, range(0, len(self), max(len(self) // _ASKED, 1)))

    def location(self, index: int) -> Location:
        """Returns where the video is; a remote one with the state that it was examined in, which all reading holds to."""
        file = self.file(index)
        if not is_url(file):
            return Path(file)
        etag = _text(self.etags, self.etag_ends, self.row(index)) if len(self.etag_ends) else ""
        return location(file, FileState(*self.state(index), etag))

    def state(self, index: int) -> tuple[int, int]:
        """Returns the video's size and mtime_ns when it was examined."""
        row = self.row(index)
        return int(self.size[row]), int(self.mtime_ns[row])

    def row(self, index: int) -> int:
        """Returns which element of stored is a video's."""
        return index if self.rows is None else int(self.rows[index])

    def table_index(self, index: int) -> int:
        """Returns a video's index in the packet table."""
        return int(self.table_indices[index]) if self.rows is None else self.row(index)

    def stored_column(self, name: str) -> NDArray[Any]:
        """Returns a column of stored, [videos]."""
        column = self.stored[name]
        return column if self.rows is None else column[self.rows]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Returns the bytes of each file when it was examined: int64 [videos]."""
        return self.size if self.rows is None else self.size[self.rows]

    @cached_property
    def has_remote(self) -> bool:
        """Whether some of them, by the first of them, are behind URLs."""
        return len(self) > 0 and (is_url(self.root) or is_url(self.file(0)))

    @cached_property
    def digest(self) -> str:
        """Returns a hash of which videos these are, in which order, with what labels; wherever they lie."""
        sha256, texts = hashlib.sha256(), Texts(self.paths, self.path_ends)
        rows = np.arange(len(self)) if self.rows is None else self.rows
        for first in range(0, len(rows), _CHUNK):
            sha256.update(texts.take(rows[first : first + _CHUNK]).data.tobytes())
        end = np.int64(0)
        for first in range(0, len(rows), _CHUNK):
            ends = end + np.cumsum(texts.lengths_of(rows[first : first + _CHUNK]))
            sha256.update(ends.astype("<i8").data)
            end = ends[-1]
        for array in (self.num_frames, self.labels):
            for first in range(0, len(array), _CHUNK):
                sha256.update(array[first : first + _CHUNK].astype("<i8").data)
        for column in self.label_sets.columns() if self.label_sets is not None else ():
            sha256.update(np.ascontiguousarray(column).data)
        return sha256.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        arrays = self._own_arrays()
        texts: dict[str, Any] = {name: value for name, value in self.__dict__.items() if isinstance(value, str)}
        handles = [self.shared[name].handle for name in self.shared if name not in arrays]
        if sum(array.nbytes for array in arrays.values()) >= _SHARED_BYTES:
            # Where there are no memory files each worker gets its copy.
            with contextlib.suppress(OSError):
                handles, arrays = [*handles, self._shared.handle], {}
        return arrays | texts | ({"shared": handles} if handles else {})

    def _own_arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {name: value for name, value in self.__dict__.items() if isinstance(value, np.ndarray)}
        shared = {name: self.shared[name].arrays[name] for name in self.shared}
        return {name: value for name, value in arrays.items() if value is not shared.get(name)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for handle in state.pop("shared", ()):
            state |= map_arrays(handle)
        self.__dict__.update(state | {"shared": {}})

    @cached_property
    def _shared(self) -> SharedArrays:
        shared = SharedArrays(self._own_arrays())
        self.__dict__.update(shared.arrays)  # the same numbers, held once
        return shared


def _text(texts: NDArray[np.uint8], ends: NDArray[np.int64], index: int) -> str:
    start = ends[index - 1] if index else 0
    return texts[start : ends[index]].tobytes().decode(errors="surrogateescape")


def pack_paths(paths: Iterable[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns paths and path_ends of Videos."""
    texts = Texts.of(paths)
    return texts.data, texts.ends
