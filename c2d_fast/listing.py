"""Reads a list of labelled videos: one `relative/path.mp4 label` a line."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from c2d_fast.errors import UserError


@dataclass(frozen=True)
class Listing:
    """The videos of one list file, in its order."""

    path: Path
    root: Path
    videos: tuple[str, ...]
    """Paths as written in the list, below root."""
    labels: tuple[int, ...]
    lines: tuple[int, ...]
    """1-based line of each video, for messages."""
    sha256: str
    """Of the list file's bytes: a score is only comparable on the same list."""

    def __len__(self) -> int:
        return len(self.videos)

    def file(self, index: int) -> Path:
        """Returns the path of the video on disk."""
        return self.root / self.videos[index]

    def where(self, index: int) -> str:
        """Returns `list.txt:12: path.mp4`, the way messages name a video."""
        return f"{self.path}:{self.lines[index]}: {self.videos[index]}"

    def summary(self) -> str:
        """Returns the list's name, number of videos and hash, to stand beside every score."""
        return f"{self.path.name}, {len(self)} videos, sha256 {self.sha256}"


def read_list(path: str | Path, root: str | Path | None, num_classes: int) -> Listing:
    """Reads a list file.

    The label is the last word of a line, so paths may contain spaces. Empty lines are skipped.

    Args:
        path: the list file, UTF-8.
        root: the folder that the paths are relative to; None is the list's own folder.
        num_classes: labels must lie in 0..num_classes - 1.

    Raises:
        UserError: the file is missing or empty, the root is no folder, or a line breaks a rule (named with its number).
    """
    path = Path(path)
    root = path.parent if root is None else Path(root)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"list {path}: cannot be read ({error.strerror}); give the path of a list file") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"list {path}: is not UTF-8 text ({error.reason}); give a list with `path label` lines") from error
    videos, labels, lines = [], [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            video, label = _parse_line(line.strip(), f"{path}:{number}", num_classes)
            videos.append(video)
            labels.append(label)
            lines.append(number)
    if not videos:
        raise UserError(f"list {path}: is empty; each line must be `relative/path.mp4 label`")
    if not root.is_dir():
        raise UserError(f"data root {root}: is not a folder; give the folder that the paths of {path} are relative to")
    return Listing(path, root, tuple(videos), tuple(labels), tuple(lines), hashlib.sha256(raw).hexdigest())


def _parse_line(line: str, where: str, num_classes: int) -> tuple[str, int]:
    words = line.rsplit(maxsplit=1)
    rule = "each line must be `relative/path.mp4 label`"
    if len(words) != 2:
        raise UserError(f"{where}: {line!r} has no label; {rule}")
    video, label = words
    # int() would also take "1_0" and "+1", which no list means.
    if not (label.isascii() and label.removeprefix("-").isdigit()):
        raise UserError(f"{where}: label {label!r} is not a whole number; {rule}")
    if not 0 <= int(label) < num_classes:
        raise UserError(
            f"{where}: label {label} is out of range; labels go from 0 to {num_classes - 1} (change --num-classes or the list)"
        )
    return video, int(label)
