"""Lists of labelled videos: files, labels, class names and the hash that says which list it was."""

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from c2d_fast.errors import UserError, on_one_line
from c2d_fast.formats.integers import Integers, distinct, narrowed
from c2d_fast.formats.manifest_file import ManifestFile, is_manifest, read_narrow, table_path
from c2d_fast.lists.fetched import fetched, fetched_if_there, is_remote_folder
from c2d_fast.lists.file_finder import FileFinder
from c2d_fast.lists.label_map import class_key, decode_text, sorted_classes
from c2d_fast.lists.list_shapes import Row, folder_rows, list_rows
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

    def __len__(self) -> int:
        return len(self.videos)

    @cached_property
    def num_classes(self) -> int:
        """Classes that the list has videos of."""
        return len(distinct(self.labels)[0])

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
) -> Listing:
    """Reads a list of any of the known shapes.

    - `relative/path.mp4 label`: the label is the last word, so paths may contain spaces; they may also stand in quotes;
    - `video_id num_frames label`, with spaces or commas: the file's name is made with video_name;
    - a table with the columns label, youtube_id, time_start, time_end (Kinetics' own CSV): the files are looked for as
      <id>_<start>_<end>.mp4 (or .mkv, .webm ...), also in folders of classes, or as video_name says;
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

    Raises:
        UserError: the list is missing or empty, the root is no folder, or a line breaks a rule (named with its number).
    """
    path = user_location(str(path))
    is_folder = is_remote_folder(path) if isinstance(path, RemotePath) else os.path.isdir(path)
    file = path if is_folder else fetched(path, "list")
    if isinstance(file, Path) and is_manifest(file):
        return _scanned_list(path, file, root, num_classes, classes)
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
        rows = list(list_rows(decode_text(raw, path, "list"), path, video_name))
        if not rows:
            raise UserError(f"list {path}: has no videos")
        sha256 = hashlib.sha256(raw).hexdigest()
    _check_root(root, path)
    labels, classes = _labels(rows, path, num_classes, classes)
    listing = Listing(
        path=path,
        root=root,
        videos=_videos(rows, root),
        labels=labels,
        lines=tuple(row.line for row in rows),
        sha256=sha256,
        classes=classes,
    )
    _note_repeats(listing)
    return listing


def _scanned_list(
    path: Location, file: Path, root: str | Location | None, num_classes: int | None, classes: tuple[str, ...] | None
) -> Listing:
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
    # A label map holds for all videos of a class: one of each stands for them.
    known, firsts = distinct(Integers(scanned.labels))
    rows = [
        Row(0, (scanned.videos[first],), scanned.classes[label] if scanned.classes else label)
        for label, first in zip(known.tolist(), firsts.tolist(), strict=True)
    ]
    labels, classes = _labels(rows, path, num_classes, classes)
    is_same = labels == tuple(known.tolist())
    return Listing(
        path=path,
        root=root,
        videos=scanned.videos,
        labels=Integers(scanned.labels if is_same else narrowed(np.array(labels))[np.searchsorted(known, scanned.labels)]),
        lines=Integers(np.broadcast_to(np.int64(0), len(scanned.videos))),
        sha256=scanned.list_sha256,
        classes=classes,
        scanned=scanned,
        packet_table=packet_table,
    )


def _check_root(root: Location, path: Location) -> None:
    if isinstance(root, Path) and not os.path.isdir(root):
        raise UserError(f"data root {root}: is not a folder; give the folder that the paths of {path} are relative to")


def _location(row: Row, path: Location) -> str:
    return f"{path}:{row.line}" if row.line else f"{path / row.paths[0]}"


def _labels(
    rows: list[Row], path: Location, num_classes: int | None, classes: tuple[str, ...] | None
) -> tuple[tuple[int, ...], tuple[str, ...] | None]:
    """Returns the rows' labels, and the classes' names where they are known."""
    if classes is None and all(isinstance(row.label, str) and re.fullmatch(r"\d{1,9}", row.label, re.ASCII) for row in rows):
        rows = [replace(row, label=int(row.label)) for row in rows]  # folders that are called by their labels
    if classes is None and any(isinstance(row.label, str) for row in rows):
        classes = _derived_classes((str(row.label) for row in rows), path, num_classes)
    numbers = {class_key(name): label for label, name in enumerate(classes or ())}
    labels = []
    for row in rows:
        label = row.label if isinstance(row.label, int) else numbers.get(class_key(row.label))
        if label is None:
            raise UserError(
                f"{_location(row, path)}: class {row.label!r} is not in the label map of {len(numbers)} names; correct either"
            )
        if label < 0 or (num_classes is not None and label >= num_classes):
            raise UserError(
                f"{_location(row, path)}: label {label} is out of range; labels go from 0"
                + (f" to {num_classes - 1} (change --num-classes or the list)" if num_classes else "")
            )
        labels.append(label)
    return tuple(labels), classes


def _derived_classes(names: Iterable[str], path: Location, num_classes: int | None) -> tuple[str, ...]:
    classes = sorted_classes(names)
    if num_classes is None:
        return classes
    if len(classes) != num_classes:
        raise UserError(
            f"list {path}: has {len(classes)} class names, and the model {num_classes} classes; give --num-classes "
            f"{len(classes)}, or all names in the order of their labels with --label-map FILE"
        )
    some = ", ".join(classes[:5]) + (", ..." if num_classes > 5 else "")
    print(on_one_line(f"classes of {path}, numbered in alphabetical order, for want of a label map: {some}"))
    return classes


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
        if listing.labels[other] != listing.labels[index]:
            relabelled.append(index)
    if repeats:
        print(f"note: {repeats} of the {len(listing)} lines of {listing.path} name a video that an earlier line names")
    if relabelled:
        print(on_one_line(f"note: {len(relabelled)} of them give it another label, first {listing.location(relabelled[0])}"))
