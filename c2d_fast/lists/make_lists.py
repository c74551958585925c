"""Makes lists and a label map of what a user has: a folder of videos for each class, or Kinetics' CSV and its videos."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from c2d_fast.errors import UserError, on_one_line
from c2d_fast.files import atomic_write, check_writable
from c2d_fast.lists.file_finder import FileFinder
from c2d_fast.lists.label_map import class_key, decode_text, read_label_map, sorted_classes
from c2d_fast.lists.list_shapes import folder_rows, list_rows
from c2d_fast.lists.listing import read_list
from c2d_fast.lists.row import Row

_SHOWN = 10  # names of missing files


@dataclass(frozen=True, kw_only=True)
class SplitSource:
    """One split's videos, as a user has them."""

    name: str
    """train or val: the list's name."""
    path: Path
    """A folder with a folder for each class, or a CSV in Kinetics' form."""
    root: Path
    """Where the CSV's videos are; of a folder, itself."""


def run_list(args: argparse.Namespace) -> None:
    """Makes lists as the flags of `c2d_fast.prepare list` say.

    Raises:
        UserError: anything that the user can mend.
    """
    if args.val and args.val_percent:
        raise UserError("--val and --val-percent: give one of them")
    splits = {"train": args.train, "val": args.val} if args.val else {"train": args.train}
    sources = []
    for name, path in splits.items():
        data_root = (args.val_root if name == "val" else None) or args.data_root or path.parent
        sources.append(SplitSource(name=name, path=path, root=path if os.path.isdir(path) else data_root))
    root = args.data_root or Path(os.path.commonpath([source.root.absolute() for source in sources]))
    if not os.path.isdir(root):
        raise UserError(f"--data-root {root}: is not a folder; give the folder that the videos are in")
    lines = make_lists(
        sources,
        root,
        args.out,
        label_map=args.label_map,
        video_name=args.video_name,
        val_percent=args.val_percent,
        seed=args.seed,
    )
    print("\n".join(map(on_one_line, lines)))


def make_lists(
    sources: list[SplitSource],
    root: Path,
    out: Path,
    *,
    label_map: Path | None,
    video_name: str | None,
    val_percent: float,
    seed: int,
) -> list[str]:
    """Writes out/train.txt, out/val.txt and out/labels.txt, and out/missing.txt where videos are missing.

    Args:
        sources: the training split, and the validation split if it is a source of its own.
        root: the folder that the lists' paths are relative to.
        out: the folder for the lists; made if it is not there.
        label_map: the classes' names by label; None: the training split's, in alphabetical order.
        video_name: template of the files' names that a CSV means, see listing.read_list.
        val_percent: of each class's training videos, that many go to val.txt instead.
        seed: decides which.

    Returns:
        Lines for the user: what was found and written, what is missing.

    Raises:
        UserError: a source cannot be read or names a class that the label map lacks, or nothing is there.
    """
    rows = {source.name: _read(source, video_name) for source in sources}
    labels = read_label_map(label_map) if label_map else sorted_classes(str(row.label) for row in rows["train"])
    numbers = {class_key(name): label for label, name in enumerate(labels)}
    found: dict[str, list[tuple[str, int]]] = {}
    missing: list[str] = []
    for source in sources:
        found[source.name] = []
        finder = FileFinder(source.root)
        for row in rows[source.name]:
            label = numbers.get(class_key(str(row.label)))
            if label is None:
                raise UserError(
                    f"{source.path}: class {row.label!r} is not among the {len(labels)} known ones; give them with --label-map"
                )
            path = finder.find(row)
            if path is None or not os.path.isfile(source.root / path):
                missing.append(row.paths[0])
            else:
                found[source.name].append((os.path.relpath(source.root / path, root), label))
        if not found[source.name]:
            raise UserError(f"{source.path}: none of its {len(rows[source.name])} videos is below {source.root}")
    if val_percent:
        found["train"], found["val"] = _split(found["train"], val_percent, seed)
    return _write(found, root, labels, missing, out)


def _read(source: SplitSource, video_name: str | None) -> list[Row]:
    if os.path.isdir(source.path):
        rows = folder_rows(source.path)
    else:
        try:
            text = decode_text(source.path.read_bytes(), source.path, "list")
        except OSError as error:
            raise UserError(f"--{source.name} {source.path}: cannot be read ({error.strerror})") from error
        rows = list(list_rows(text, source.path, video_name))
        if not all(isinstance(row.label, str) for row in rows):
            raise UserError(f"--{source.name} {source.path}: is a list already; give a CSV with class names, or a folder")
    if not rows:
        raise UserError(f"--{source.name} {source.path}: has no videos")
    return rows


def _split(videos: list[tuple[str, int]], val_percent: float, seed: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Takes the same share of every class for validation, and of a class with two videos or more one at least."""
    rng = np.random.default_rng([seed])
    val: set[int] = set()
    for label in sorted({label for _, label in videos}):
        members = [i for i, (_, other) in enumerate(videos) if other == label]
        count = min(max(round(len(members) * val_percent / 100), 1), len(members) - 1)
        val.update(rng.permutation(members)[:count].tolist())
    return [v for i, v in enumerate(videos) if i not in val], [v for i, v in enumerate(videos) if i in val]


def _write(
    found: dict[str, list[tuple[str, int]]], root: Path, labels: tuple[str, ...], missing: list[str], out: Path
) -> list[str]:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be made ({error.strerror}); give another folder") from error
    lines = []
    for name, videos in found.items():
        kept = [(path, label) for path, label in videos if fits_a_line(path)]
        if len(kept) < len(videos):
            first = next(path for path, _ in videos if not fits_a_line(path))
            lines.append(f"left out of {name}, a line cannot hold their names: {len(videos) - len(kept)}, first {first!r}")
        list_path = out / f"{name}.txt"
        _write_text(list_path, "".join(f"{quoted(path)} {label}\n" for path, label in kept))
        listing = read_list(list_path, root, len(labels), classes=labels)
        assert listing.videos == tuple(path for path, _ in kept), "a path was not read back as it was written"
        lines.append(f"{list_path}: {listing.summary()}")
    _write_labels(labels, out / "labels.txt")
    lines.append(f"{out / 'labels.txt'}: {len(labels)} classes")
    if missing:
        _write_text(out / "missing.txt", "".join(f"{path}\n" for path in missing))
        some = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        lines.append(f"missing: {len(missing)} videos, all named in {out / 'missing.txt'}: {some}")
    lists = " ".join(f"--{name}-list {out / name}.txt" for name in found)
    lines.append(f"to train: --data-root {root} {lists} --label-map {out / 'labels.txt'}")
    return lines


def fits_a_line(path: str) -> bool:
    """Says whether a line of a list can hold a path."""
    return _is_utf8(path) and not {"\n", "\r"} & set(path)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:  # a name of other bytes
        return False
    return True


def quoted(path: str) -> str:
    """Returns the path as a line of a list has it: in quotes where it would otherwise be read as another."""
    if path == path.strip() and path[0] not in "\"'\ufeff":  # a byte order mark would be taken for that of the file
        return path
    return _in_quotes(path)


def _write_labels(labels: tuple[str, ...], path: Path) -> None:
    """Writes a label map; in quotes where names with numbers would look like another form of it."""
    for shown in (str, _in_quotes):
        _write_text(path, "".join(shown(name) + "\n" for name in labels))
        try:
            if read_label_map(path) == labels:
                return
        except UserError:
            pass
    raise UserError(f"{path}: cannot hold these class names as they are: {', '.join(map(repr, labels[:_SHOWN]))}; rename some")


def _in_quotes(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _write_text(path: Path, text: str) -> None:
    check_writable(path, "--out")
    try:
        with atomic_write(path) as partial:
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written ({error.strerror}); give another folder") from error
