"""From what a user calls their videos, a list or just paths, to those that can be read."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from c2d_fast.errors import UserError
from c2d_fast.formats.label_sets import NO_LABEL, LabelSets
from c2d_fast.lists.label_map import class_key, sorted_classes
from c2d_fast.lists.listing import Listing, read_list
from c2d_fast.manifest.bad_videos import BadVideos, parse_limit
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.remote.remote_path import user_location

Label = int | str
"""A class's number, or its name."""
Labels = Label | Sequence[Label] | Mapping[Label, float]
"""Of one video: its label, any number of them, or each with its weight."""


def usable_videos(listing: Listing, *, train: bool, allow_missing: bool, max_bad_videos: str | int) -> BadVideos:
    """Looks each video of a list up, and leaves broken ones out as the commands do.

    Args:
        listing: the list.
        train: broken ones are borne up to a limit; otherwise any is an error, unless allow_missing.
        allow_missing: whether missing files are left out.
        max_bad_videos: the limit, a number or per cent.

    Raises:
        UserError: files are missing or broken beyond what is allowed.
    """
    manifest = read_manifest(listing, allow_missing=allow_missing, jobs=min(2 * len(os.sched_getaffinity(0)), 64))
    if train:
        bad = BadVideos(manifest, parse_limit(str(max_bad_videos)), "mend or remove them, or raise max_bad_videos")
    else:
        limit = (100.0, True) if allow_missing else (0.0, False)
        bad = BadVideos(manifest, limit, "mend or remove them, or read the others with allow_missing=True", check_at_end=True)
    bad.add_from_manifest(count_missing=not train)
    return bad


def open_listing(
    videos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    labels: Sequence[Labels] | None,
    root: str | os.PathLike[str] | None,
    num_classes: int | None,
    classes: Sequence[str] | None,
    video_name: str | None,
) -> Listing:
    """Reads a list of any shape (a manifest, too), or makes one of paths.

    Args:
        videos: the list's path, or the videos' paths.
        labels: of the paths, each one's; a list has its own.
        root: the folder that relative paths are below; None: the list's folder, or for paths the current one.
        num_classes: that labels must be below; None: any will do.
        classes: the classes' names in the order of their labels; None: those of names are numbered in alphabetical order.
        video_name: as in read_list.

    Raises:
        UserError: as read_list, or paths and labels do not fit.
    """
    if isinstance(videos, (str, os.PathLike)):
        if labels is not None:
            raise UserError(
                f"labels: the list {os.fspath(videos)} has labels of its own; leave them out, or give the videos' paths"
            )
        path = user_location(os.fspath(videos))
        given = None if classes is None else tuple(classes)
        place = None if root is None else user_location(os.fspath(root))
        return read_list(path, place, len(given) if given else num_classes, classes=given, video_name=video_name)
    paths = [str(user_location(os.fspath(path))) for path in videos]
    if not paths:
        raise UserError("videos: there are none; give a list's path, or paths of videos")
    if labels is None:
        labels = [NO_LABEL] * len(paths)
    elif len(labels) != len(paths):
        raise UserError(f"labels: there are {len(labels)} for {len(paths)} videos; give each video one")
    numbered = _numbered_sets if any(map(_is_several, labels)) else _numbers
    numbers, sets, names = numbered(labels, num_classes, classes)
    texts = map(str, numbers) if sets is None else map(sets.text, range(len(sets)))
    text = "".join(f"{path} {label}\n" for path, label in zip(paths, texts, strict=True))
    return Listing(
        path=Path("videos"),
        root=user_location("." if root is None else os.fspath(root)),
        videos=tuple(paths),
        labels=numbers,
        lines=(0,) * len(paths),
        sha256=hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest(),
        classes=names,
        label_sets=sets,
    )


def _numbers(
    labels: Sequence[Any], num_classes: int | None, classes: Sequence[str] | None
) -> tuple[tuple[int, ...], LabelSets | None, tuple[str, ...] | None]:
    """Returns labels, one each, as numbers, no sets, and the classes' names where they are known."""
    numbering = _Numbering(labels, num_classes, classes)
    return tuple(numbering.number(label, position) for position, label in enumerate(labels)), None, numbering.names


def _numbered_sets(
    labels: Sequence[Any], num_classes: int | None, classes: Sequence[str] | None
) -> tuple[tuple[int, ...], LabelSets | None, tuple[str, ...] | None]:
    """Returns of any number of labels each the heaviest, all of them, and the classes' names where they are known."""
    each = [_weighted(label) for label in labels]
    numbering = _Numbering([label for pairs in each for label, _ in pairs], num_classes, classes)
    found: list[list[tuple[int, float]]] = []
    for position, pairs in enumerate(each):
        numbered = [(numbering.number(label, position), float(weight)) for label, weight in pairs]
        found.append([(number, weight) for number, weight in numbered if number != NO_LABEL])
        try:
            LabelSets.from_pairs(found[-1:])
        except ValueError as error:
            raise UserError(f"labels[{position}]: {error}; give each label once, with a weight of 0 to 1") from error
    sets = LabelSets.from_pairs(found)
    return tuple(sets.heaviest().tolist()), sets, numbering.names


def _weighted(labels: Any) -> list[tuple[Label, float]]:
    if isinstance(labels, Mapping):
        return list(labels.items())
    return [(label, 1.0) for label in (labels if _is_several(labels) else [labels])]


def _is_several(labels: Any) -> bool:
    # A number of NumPy's or torch's may look like a sequence, too.
    return isinstance(labels, Iterable) and not isinstance(labels, str) and getattr(labels, "ndim", 1) > 0


class _Numbering:
    """What number each label has."""

    def __init__(self, labels: Sequence[Label], num_classes: int | None, classes: Sequence[str] | None):
        self.names = None if classes is None else tuple(classes)
        self._by_name: dict[str, int] = {}
        if all(isinstance(label, str) for label in labels):
            self.names = self.names or sorted_classes(str(label) for label in labels)
            self._by_name = {class_key(name): number for number, name in enumerate(self.names)}
        self._num_classes = len(self.names) if self.names else num_classes

    def number(self, label: Label, position: int) -> int:
        """Returns a label's number.

        Raises:
            UserError: it has none, or is out of range.
        """
        if self._by_name:
            if (found := self._by_name.get(class_key(str(label)))) is None:
                raise UserError(f"labels: class {label!r} is not among the {len(self._by_name)} of classes; correct either")
            return found
        number = int(label)
        if number < NO_LABEL or (self._num_classes is not None and number >= self._num_classes):
            most = (self._num_classes or 2**31) - 1
            raise UserError(f"labels[{position}]: {number} must be 0 to {most}, or {NO_LABEL} for none")
        return number
