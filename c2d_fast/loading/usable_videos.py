"""From what a user calls their videos, a list or just paths, to those that can be read."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from c2d_fast.errors import UserError
from c2d_fast.lists.label_map import class_key, sorted_classes
from c2d_fast.lists.listing import Listing, read_list
from c2d_fast.manifest.bad_videos import BadVideos, parse_limit
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.remote.remote_path import user_location

Label = int | str
"""A class's number, or its name."""
NO_LABEL = -1


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
    labels: Sequence[Label] | None,
    root: str | os.PathLike[str] | None,
    num_classes: int | None,
    classes: Sequence[str] | None,
    video_name: str | None,
) -> Listing:
    """Reads a list of any shape (a manifest, too), or makes one of paths.

    Args:
        videos: the list's path, or the videos' paths.
        labels: of the paths, one each; a list has its own.
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
    numbers, names = _numbers(labels, num_classes, classes)
    text = "".join(f"{path} {label}\n" for path, label in zip(paths, numbers, strict=True))
    return Listing(
        path=Path("videos"),
        root=user_location("." if root is None else os.fspath(root)),
        videos=tuple(paths),
        labels=numbers,
        lines=(0,) * len(paths),
        sha256=hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest(),
        classes=names,
    )


def _numbers(
    labels: Sequence[Label], num_classes: int | None, classes: Sequence[str] | None
) -> tuple[tuple[int, ...], tuple[str, ...] | None]:
    """Returns labels as numbers, and the classes' names where they are known."""
    names = None if classes is None else tuple(classes)
    if all(isinstance(label, str) for label in labels):
        names = names or sorted_classes(str(label) for label in labels)
        by_name = {class_key(name): number for number, name in enumerate(names)}
        if unknown := next((label for label in labels if class_key(str(label)) not in by_name), None):
            raise UserError(f"labels: class {unknown!r} is not among the {len(by_name)} of classes; correct either")
        numbers = tuple(by_name[class_key(str(label))] for label in labels)
    else:
        numbers = tuple(int(label) for label in labels)
    num_classes = len(names) if names else num_classes
    for position, number in enumerate(numbers):
        if number < NO_LABEL or (num_classes is not None and number >= num_classes):
            raise UserError(f"labels[{position}]: {number} must be 0 to {(num_classes or 2**31) - 1}, or {NO_LABEL} for none")
    return numbers, names
