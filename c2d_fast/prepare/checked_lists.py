"""The lists that `prepare check` compares: their videos numbered through, and what a child process is told of one."""

import functools
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.formats.manifest_file import ManifestFile, table_path
from c2d_fast.formats.packet_table import REMEDY, PacketTable, TableError, open_table
from c2d_fast.lists.listing import Listing, read_list
from c2d_fast.remote.remote_path import FileState, Location, RemotePath, is_url, pinned
from c2d_fast.video.facts import is_cropped
from c2d_fast.video.packets import Stored


@dataclass(frozen=True)
class CheckedVideo:
    """One video, as a child process needs it."""

    number: int
    """Among those of all lists."""
    path: Location
    size: int
    """Bytes."""
    mtime_ns: int
    """-1: not compared."""
    num_frames: int
    stored: Stored
    """Without rows and extradata."""
    table: tuple[str, str, int]
    """The packet table, the identity of its manifest, and the video's place in it."""

    @property
    def key(self) -> tuple[str, int, int]:
        """Returns which file this is, in which state; the time of one that was moved is not known, and not compared."""
        return str(self.path), self.size, self.mtime_ns

    def with_rows(self) -> Stored:
        """Returns what is known of the file with its packets; raises as PacketTable.read does."""
        path, identity, index = self.table
        rows, extradata = _table(path, identity).read(index, self.size)
        return replace(self.stored, rows=rows if len(rows) else None, extradata=extradata)


@functools.lru_cache(2)
def _table(path: str, identity: str) -> PacketTable:
    """Opens a table once in each child process."""
    try:
        return open_table(Path(path), identity)
    except UserError as error:
        raise TableError(f"cannot be read ({error})") from error


@dataclass(frozen=True)
class CheckedList:
    """A manifest, and how it is called in the report."""

    name: str
    """train or val."""
    listing: Listing
    scanned: ManifestFile
    is_moved: bool
    """Whether its files are below another folder than they were scanned in."""
    table: tuple[Path, str]

    def open_table(self) -> PacketTable:
        """Returns the packet table.

        Raises:
            UserError: it cannot be read, or is of another manifest.
        """
        return open_table(*self.table, packets=self.scanned.facts["packets"])

    def class_name(self, row: int) -> str:
        """Returns the name of a video's class, or of all of them; "" where the list gives none."""
        classes, sets = self.listing.classes, self.listing.label_sets
        if not classes or sets is None:
            return classes[self.listing.labels[row]] if classes else ""
        return ";".join(classes[label] for label, _ in sets.of(row))


class CheckedLists:
    """One or two lists; a video's number is its row, after those of the list before."""

    def __init__(self, lists: Sequence[CheckedList]):
        """Takes the lists, the training list first."""
        self.lists = tuple(lists)
        self.starts = [0, *np.cumsum([len(one.listing) for one in lists]).tolist()]
        self.is_good = np.array([not reason for one in lists for reason in one.scanned.reasons], np.bool_)
        """bool [videos]: others are broken, and are not compared."""

    def __len__(self) -> int:
        return int(self.starts[-1])

    def place(self, number: int) -> tuple[CheckedList, int]:
        """Returns a video's list, and its row there, from 0."""
        which = bisect_right(self.starts, number) - 1
        return self.lists[which], number - self.starts[which]

    def list_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns for each video which list it is of: 0 or 1, int64 [videos]."""
        return np.searchsorted(np.array(self.starts), numbers, "right") - 1

    def describe(self, number: int) -> str:
        """Returns `train.npz row 12: path.mp4`, rows from 1."""
        one, row = self.place(number)
        return f"{one.listing.path.name} row {row + 1}: {one.listing.videos[row]}"

    def label(self, number: int) -> str:
        """Returns a video's label, or labels, as a line of a list has them."""
        one, row = self.place(number)
        return one.listing.label_text(row)

    def same_label(self, a: int, b: int) -> bool:
        """Says whether two videos have the same classes: by their names where both lists give names."""
        names = [one.class_name(row) for one, row in (self.place(a), self.place(b))]
        if self.lists[0].listing.label_sets is None and self.lists[-1].listing.label_sets is None:
            return names[0] == names[1] if all(names) else self.label(a) == self.label(b)
        labels = [names[i].split(";") if all(names) else self.label(number).split(",") for i, number in enumerate((a, b))]
        return sorted(labels[0]) == sorted(labels[1])

    def video(self, number: int) -> CheckedVideo:
        """Returns what a child process needs to know of a video."""
        one, row = self.place(number)
        scanned, facts = one.scanned, one.scanned.facts[row]
        size, mtime_ns = int(scanned.size[row]), -1 if one.is_moved else int(scanned.mtime_ns[row])
        path = one.listing.file(row)
        if isinstance(path, RemotePath) and not one.is_moved:
            path = pinned(path, FileState(size, mtime_ns, scanned.etags[row] if scanned.etags else ""))
        elif isinstance(path, Path):
            path = path.absolute()
        stored = Stored(
            codec=facts["codec"].decode(),
            full_range=bool(facts["full_range"]),
            matrix=int(facts["matrix"]),
            closed_gops=bool(facts["closed_gops"]),
            entries=int(facts["entries"]),
            width=int(facts["width"]),
            height=int(facts["height"]),
            orientation=int(facts["orientation"]),
            is_cropped=bool(is_cropped(scanned.facts[row : row + 1])[0]),
        )
        table, identity = one.table
        return CheckedVideo(number, path, size, mtime_ns, int(facts["frames"]), stored, (str(table), identity, row))


def read_manifest_list(name: str, path: Location, root: Location | None) -> CheckedList:
    """Reads a manifest, and finds its packet table.

    Args:
        name: train or val; also that of the flag.
        path: of the manifest.
        root: where its files are now; None: where they were scanned.

    Raises:
        UserError: it is no manifest, or has no packet table.
    """
    listing = read_list(path, root, None)
    if listing.scanned is None:
        raise UserError(
            f"--{name} {path}: is a plain list; videos are compared by what a scan finds of them: give the manifest that "
            "python -m c2d_fast.prepare scan makes of it"
        )
    if listing.packet_table is None:
        raise UserError(f"--{name} {path}: has no packet table beside it, {table_path(path).name}; {REMEDY}")
    return CheckedList(name, listing, listing.scanned, _is_moved(listing.root, listing.scanned.root), listing.packet_table)


def _is_moved(root: Location, scanned: str) -> bool:
    if isinstance(root, RemotePath) or is_url(scanned):
        return str(root) != scanned
    return os.path.realpath(root) != os.path.realpath(scanned)
