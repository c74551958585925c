"""Lists of labelled videos: files, labels, class names and the hash that says which list it was."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError, on_one_line
from c2d_fast.formats.integers import Integers, distinct, narrowed
from c2d_fast.formats.label_sets import NO_LABEL, LabelSets
from c2d_fast.formats.manifest_file import ManifestFile, is_manifest, read_narrow, table_path
from c2d_fast.lists.fetched import fetched, fetched_if_there, is_remote_folder
from c2d_fast.lists.file_finder import FileFinder
from c2d_fast.lists.label_map import decode_text
from c2d_fast.lists.list_shapes import class_columns, folder_rows, list_rows
from c2d_fast.lists.numbering import Meaning, number_labels
from c2d_fast.lists.row import Row
from c2d_fast.remote.remote_path import Location, RemotePath, below, location, user_location
from c2d_fast.video.facts import READING


@dataclass(frozen=True)
class Listing:
    """The videos of one list, in its order."""

    path: Location
    root: Location
    videos: Sequence[str]
    """Paths below root; of a manifest Texts, as labels and lines are Integers then."""
    labels: Sequence[int]
    """NO_LABEL (-1) where there is none; of several the heaviest, of like ones the first."""
    lines: Sequence[int]
    """1-based line of each video, for messages; 0 where the list is a folder."""
    sha256: str
    """Of the list file's bytes (of a folder: of its `path class` lines): scores are comparable on the same list only."""
    classes: tuple[str, ...] | None = None
    """The classes' names by label, where a label map, a table or folders give them."""
    scanned: ManifestFile | None = None
    """What `prepare scan` found, where the list is a manifest; of the facts those that reading needs."""
    packet_table: tuple[Path, str] | None = None
    """The manifest's packet table, if there is one, and the identity of the manifest that it must belong to."""
    label_sets: LabelSets | None = None
    """All labels, of a list that gives several for a video, or shares, or whose videos need not have one."""

    def __len__(self) -> int:
        return len(self.videos)

    @cached_property
    def num_classes(self) -> int:
        """Classes that the list has videos of."""
        labels = self.labels if self.label_sets is None else Integers(self.label_sets.classes)
        return int((distinct(labels)[0] >= 0).sum())

    @property
    def largest_label(self) -> int:
        """Returns the largest label; NO_LABEL where no video has one."""
        if self.label_sets is not None:
            return self.label_sets.largest
        return int(np.max(np.asarray(self.labels))) if len(self) else NO_LABEL

    def label_text(self, index: int) -> str:
        """Returns a video's labels as a line of a list has them."""
        return str(self.labels[index]) if self.label_sets is None else self.label_sets.text(index)

    def file(self, index: int) -> Location:
        """Returns where the video is."""
        return below(self.root, self.videos[index])

    def file_of(self, video: str) -> Location:
        """Returns where a video of this name is."""
        return below(self.root, video)

    def location(self, index: int) -> str:
        """Returns `list.txt:12: path.mp4`, the way messages name a video."""
        line = f":{self.lines[index]}" if self.lines[index] else ""
        return f"{self.path}{line}: {self.videos[index]}"

    def summary(self) -> str:
        """Returns the list's name, numbers of videos and classes, and hash, to stand beside every score."""
        return f"{self.path.name}, {len(self)} videos of {self.num_classes} classes, sha256 {self.sha256}"

    def facts(self) -> dict[str, Any]:
        """Returns what is stored with every result: plain strings and numbers."""
        return {
            "path": str(self.path.absolute()),
            "root": str(self.root.absolute()),
            "videos": len(self),
            "classes": self.num_classes,
            "sha256": self.sha256,
        }


def read_list(
    path: str | Location,
    root: str | Location | None,
    num_classes: int | None,
    *,
    classes: tuple[str, ...] | None = None,
    video_name: str | None = None,
    ignore: int | None = None,
) -> Listing:
    """Reads a list of any of the known shapes.

    - `relative/path.mp4 label`: the label is the last word, so paths may contain spaces; they may also stand in quotes. Several
      labels have commas between them, shares a colon: `3,5`, `3:0.7,5:0.3`;
    - `video_id num_frames label`, with spaces or commas: the file's name is made with video_name;
    - a table with the columns label, youtube_id, time_start, time_end (Kinetics' own CSV): the files are looked for as
      <id>_<start>_<end>.mp4 (or .mkv, .webm ...), also in folders of classes, or as video_name says;
    - a table whose first column is path (or video), with columns of labels, or with a column for each class;
    - a folder that has a folder of videos for each class;
    - a manifest of any of these, as `prepare scan` writes it: labels, names and sha256 are those of the list.

    Frames that were extracted to pictures are no videos, and not read.

    Args:
        path: the list file, UTF-8, or the folder of classes; a path or a URL.
        root: the folder that the paths are relative to, or its URL; None is the list's own folder. A folder of classes is its
            own root.
        num_classes: labels must lie in 0..num_classes - 1; None: any will do.
        classes: the classes' names by label; None: where the list gives names, they get labels in alphabetical order.
        video_name: template of the files' names where a list gives ids, for example `{id}.avi`; None: `{id}` with the suffix of
            any video.
        ignore: a label that says that there is none, in or out of range; with it -1 does, too.

    Raises:
        UserError: the list is missing or empty, the root is no folder, or a line breaks a rule (named with its number).
    """
    path = user_location(str(path))
    meaning = Meaning(num_classes=num_classes, classes=classes, ignore=ignore)
    is_folder = is_remote_folder(path) if isinstance(path, RemotePath) else os.path.isdir(path)
    file = path if is_folder else fetched(path, "list")
    if isinstance(file, Path) and is_manifest(file):
        return _scanned_list(path, file, root, meaning)
    if is_folder:
        rows = folder_rows(path)
        if not rows:
            raise UserError(f"list {path}: is a folder without videos; it must have one folder of video files for each class")
        raw = "".join(f"{row.paths[0]} {row.label}\n" for row in rows).encode(errors="surrogateescape")
        root, sha256 = path, hashlib.sha256(raw).hexdigest()
    else:
        root = path.parent if root is None else user_location(str(root))
        try:
            raw = Path(str(file)).read_bytes()
        except OSError as error:
            raise UserError(f"list {path}: cannot be read ({error.strerror}); give the path of a list file") from error
        text = decode_text(raw, path, "list")
        rows = list(list_rows(text, path, video_name))
        meaning = replace(meaning, columns=class_columns(text, path, video_name))
        if not rows:
            raise UserError(f"list {path}: has no videos")
        sha256 = hashlib.sha256(raw).hexdigest()
    _check_root(root, path)
    numbered = number_labels(rows, path, meaning)
    listing = Listing(
        path=path,
        root=root,
        videos=_videos(rows, root),
        labels=numbered.labels,
        lines=tuple(row.line for row in rows),
        sha256=sha256,
        classes=numbered.classes,
        label_sets=numbered.sets,
    )
    _note_repeats(listing)
    return listing


def _scanned_list(path: Location, file: Path, root: str | Location | None, meaning: Meaning) -> Listing:
    """Makes the listing of a manifest, of which file is a copy here, without looking at each video: it may have very many."""
    table = fetched_if_there(table_path(path), "packet table")
    scanned, identity = read_narrow(file, READING, with_identity=table is not None)
    if scanned.part:
        raise UserError(
            f"list {path}: is {scanned.part} of a manifest; join all parts with python -m c2d_fast.prepare merge, and give that"
        )
    packet_table = (table, identity) if table else None
    root = location(scanned.root) if root is None else user_location(str(root))
    _check_root(root, path)
    labels, sets, classes = _scanned_labels(scanned, path, meaning)
    return Listing(
        path=path,
        root=root,
        videos=scanned.videos,
        labels=Integers(labels),
        lines=Integers(np.broadcast_to(np.int64(0), len(scanned.videos))),
        sha256=scanned.list_sha256,
        classes=classes,
        scanned=scanned,
        packet_table=packet_table,
        label_sets=sets,
    )


def _scanned_labels(
    scanned: ManifestFile, path: Location, meaning: Meaning
) -> tuple[NDArray[Any], LabelSets | None, tuple[str, ...] | None]:
    """Returns a manifest's labels as they are meant: of several the heaviest, all of them, and the classes' names."""
    sets = scanned.label_sets
    known, firsts = distinct(Integers(scanned.labels if sets is None else sets.classes))
    if sets is not None:
        firsts, meaning = sets.owners(firsts), replace(meaning, columns=scanned.classes)
    # A label map holds for all videos of a class: one of each stands for them.
    rows = [
        Row(0, (scanned.videos[first],), scanned.classes[label] if scanned.classes else label)
        for label, first in zip(known.tolist(), firsts.tolist(), strict=True)
    ]
    numbered = number_labels(rows, path, meaning)
    if numbered.labels == tuple(known.tolist()):
        return scanned.labels, sets, numbered.classes
    numbers = np.array(numbered.labels, np.int64)
    if sets is None:
        return narrowed(numbers)[np.searchsorted(known, scanned.labels)], None, numbered.classes
    sets = sets.renumbered(known, numbers)
    return narrowed(sets.heaviest()), sets, numbered.classes


def _check_root(root: Location, path: Location) -> None:
    if isinstance(root, Path) and not os.path.isdir(root):
        raise UserError(f"data root {root}: is not a folder; give the folder that the paths of {path} are relative to")


def _videos(rows: list[Row], root: Location) -> tuple[str, ...]:
    """Returns where each row's file is; of one that is nowhere, where it is likeliest to be."""
    finder = FileFinder(root)
    is_open = (row.any_suffix or len(row.paths) > 1 for row in rows)
    return tuple((finder.find(row) if look else None) or row.paths[0] for row, look in zip(rows, is_open, strict=True))


def _note_repeats(listing: Listing) -> None:
    """Says how many lines name a file that stands in an earlier line, and whether it has another label there."""
    first: dict[str, int] = {}
    repeats, relabelled = 0, []
    for index, video in enumerate(listing.videos):
        other = first.setdefault(os.path.normpath(video), index)
        repeats += other != index
        if other != index and not _same_labels(listing, other, index):
            relabelled.append(index)
    if repeats:
        print(f"note: {repeats} of the {len(listing)} lines of {listing.path} name a video that an earlier line names")
    if relabelled:
        print(on_one_line(f"note: {len(relabelled)} of them give it another label, first {listing.location(relabelled[0])}"))


def _same_labels(listing: Listing, one: int, other: int) -> bool:
    sets = listing.label_sets
    return listing.labels[one] == listing.labels[other] if sets is None else sorted(sets.of(one)) == sorted(sets.of(other))
