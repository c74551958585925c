"""The shapes that lists come in: each is read into rows of (line, where the file may be, labels or class names)."""

import csv
import io
import re
import string
from collections.abc import Iterator
from functools import lru_cache

from c2d_fast.errors import UserError
from c2d_fast.formats.label_sets import NO_LABEL
from c2d_fast.lists.label_map import NAME_RULE, is_class_name, unquote
from c2d_fast.lists.label_tables import columns_of_classes, label_table_rows, starts_label_table
from c2d_fast.lists.row import Row, parse_label, parse_labels
from c2d_fast.remote.remote_path import Location, RemotePath, is_url, user_location
from c2d_fast.remote.transfers import list_files
from c2d_fast.video.video_files import SkippedFiles, files_below, filter_videos, videos_by_suffix

SHAPES = "`path.mp4 label`, `video_id num_frames label`, or a table with the columns label, youtube_id, time_start and time_end"

_SPLITS = {"train", "training", "val", "valid", "validation", "validate", "test", "testing"}
_PATH_RULE = "each line must be `relative/path.mp4 label`"
_ID_RULE = "each line must be `video_id num_frames label`, with spaces or with commas"
_ID_LINE = re.compile(r"[^\s,./]+(\s*,\s*|\s+)\d+(\s*,\s*|\s+)-?\d+")
_ANY_ID_LINE = re.compile(r".*\S(\s*,\s*|\s+)\d+(\s*,\s*|\s+)\S+")
_COLUMNS = ("label", "youtube_id", "time_start", "time_end")


def list_rows(text: str, path: Location, video_name: str | None) -> Iterator[Row]:
    """Reads a list of any shape, which its first line tells.

    Args:
        text: of the list.
        path: of the list, for messages.
        video_name: --video-name: the file's name as a template, where lines give ids.

    Raises:
        UserError: a line is not of that shape; named with its number.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
    lines = [(number, line) for number, line in lines if line]
    if not lines:
        raise UserError(f"list {path}: is empty; it must have lines of {SHAPES}")
    header = [field.strip().strip('"').lower() for field in lines[0][1].split(",")]
    if "youtube_id" in header:
        return _table_rows(text, path, video_name)
    if _is_label_table(lines[0][1], video_name):
        return label_table_rows(text, path, _named)
    if _is_id_line(lines[0][1], video_name):
        return _id_rows(lines, path, video_name)
    return (_path_row(number, line, path) for number, line in lines)


def class_columns(text: str, path: Location, video_name: str | None) -> tuple[str, ...] | None:
    """Returns the names of a table's columns, where each is a class; None of lists of other shapes, and of numbers."""
    first = next((line.strip() for line in text.split("\n") if line.strip()), "")
    is_table = "youtube_id" not in first.lower() and _is_label_table(first, video_name)
    return columns_of_classes(text, path) if is_table else None


def _is_label_table(first: str, video_name: str | None) -> bool:
    # `video,300,17` has always been a line of ids; `path,0,1` is that of a table of two classes.
    return starts_label_table(first) and not (first.lower().startswith("video") and _is_id_line(first, video_name))


def _is_id_line(first: str, video_name: str | None) -> bool:
    # With --video-name an id may look like anything; but another list of the same command may still give paths.
    pattern = _ID_LINE if video_name is None else _ANY_ID_LINE
    return pattern.fullmatch(first.replace('"', "") if "," in first else first) is not None


def folder_rows(folder: Location) -> list[Row]:
    """Reads a folder with a folder for each class: every video file below it, in the order of their paths.

    What is left out is counted in one line.

    Raises:
        UserError: it cannot be read, a class has no video or no name, a video lies in no class's folder, or the folders are
            those of splits.
    """
    skipped = SkippedFiles()
    if isinstance(folder, RemotePath):
        classes, stray, names = _remote_names(folder, skipped)
    else:
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            raise UserError(f"list {folder}: cannot be read ({error.strerror})") from error
        classes = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
        stray = filter_videos([entry.name for entry in entries if not entry.is_dir()], folder, skipped)
        names = []
    if stray:
        raise UserError(f"list {folder}: {stray[0]} lies in no class's folder; give a list, or one folder for each class")
    if classes and {name.lower() for name in classes} <= _SPLITS:
        raise UserError(f"list {folder}: its folders are splits, not classes; give the folder of one of them")
    for name in classes:
        if not is_class_name(name):
            raise UserError(f"list {folder}: its folder {name!r} can be no class: {NAME_RULE}; rename it")
    if isinstance(folder, RemotePath):
        videos = names
    else:
        videos = filter_videos([name for part in classes for name in files_below(folder, part)], folder, skipped)
    rows = [Row(0, (video,), video.partition("/")[0]) for video in videos]
    if str(skipped):
        print(f"note: left out of {folder}: {skipped}")
    filled = {row.label for row in rows}
    if empty := [name for name in classes if name not in filled]:
        more = f" ({len(empty)} of the {len(classes)} folders have none)" if len(empty) > 1 else ""
        raise UserError(f"list {folder}: class {empty[0]!r} has no video{more}; put videos into its folder, or remove it")
    return rows


def _remote_names(folder: RemotePath, skipped: SkippedFiles) -> tuple[list[str], list[str], list[str]]:
    """Returns the classes below a remote folder, its videos that are in none, and those that are; by their suffixes only."""
    names = videos_by_suffix((name for name, _ in list_files(folder)), skipped)
    inside = [name for name in names if "/" in name]
    return sorted({name.partition("/")[0] for name in inside}), [name for name in names if "/" not in name], inside


def _path_row(number: int, line: str, path: Location) -> Row:
    words = line.rsplit(maxsplit=1)
    name = _named(unquote(words[0]), f"{path}:{number}")
    if len(words) != 2:
        raise UserError(f"{path}:{number}: {line!r:.100} has no label; {_PATH_RULE}")
    if words[0].endswith((",", ";")):
        raise UserError(f"{path}:{number}: {line!r:.100} has a comma before its label; {_PATH_RULE}")
    if not {",", ":"} & set(words[1]):
        return Row(number, (name,), parse_label(words[1], f"{path}:{number}", _PATH_RULE))
    pairs = parse_labels(words[1], f"{path}:{number}", _PATH_RULE)
    return Row(number, (name,), NO_LABEL, several=pairs)


def _named(name: str, where: str) -> str:
    """Returns a name as a line has it; one that is a URL of its own is checked and decoded, as those of flags are."""
    try:
        return str(user_location(name)) if is_url(name) else name
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _id_rows(lines: list[tuple[int, str]], path: Location, video_name: str | None) -> Iterator[Row]:
    template = "{id}.mp4" if video_name is None else video_name
    for number, line in lines:
        where = f"{path}:{number}"
        fields = _split_commas(line, where) if "," in line else [unquote(word) for word in line.rsplit(maxsplit=2)]
        if len(fields) != 3 or not fields[0] or not re.fullmatch(r"\d+", fields[1], re.ASCII):
            raise UserError(f"{where}: {line!r:.100} cannot be read; {_ID_RULE}")
        label = parse_label(fields[2], where, _ID_RULE)
        yield Row(number, (_named(_fill(template, id=fields[0], label=label), where),), label, any_suffix=video_name is None)


def _split_commas(line: str, where: str) -> list[str]:
    try:
        return [unquote(field.strip()) for field in next(csv.reader([line], skipinitialspace=True, strict=True))]
    except csv.Error as error:
        raise UserError(f"{where}: {line!r} cannot be read ({error}); {_ID_RULE}") from error


def _table_rows(text: str, path: Location, video_name: str | None) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text), skipinitialspace=True, strict=True)
    try:
        header = [field.strip().lower() for field in next(row for row in reader if row)]
        lacking = [name for name in _COLUMNS if name not in header]
        if lacking:
            raise UserError(f"{path}:1: the table has no column {lacking[0]!r}; it must have {', '.join(_COLUMNS)}")
        twice = [name for name in _COLUMNS if header.count(name) > 1]
        if twice:
            raise UserError(f"{path}:1: the table has the column {twice[0]!r} more than once")
        for fields in reader:
            if any(field.strip() for field in fields):
                yield _table_row(header, fields, f"{path}:{reader.line_num}", reader.line_num, video_name)
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: cannot be read as comma-separated values ({error})") from error


def _table_row(header: list[str], fields: list[str], where: str, number: int, video_name: str | None) -> Row:
    if len(fields) != len(header):
        raise UserError(f"{where}: has {len(fields)} fields, the table's first line {len(header)}; they must be as many")
    row = {name: field.strip() for name, field in zip(header, fields, strict=True)}
    if not row["label"] or not row["youtube_id"]:
        raise UserError(f"{where}: {'label' if not row['label'] else 'youtube_id'} is empty; each video needs both")
    if not is_class_name(row["label"]):
        raise UserError(f"{where}: label {row['label']!r:.50} can be no class: {NAME_RULE}")
    times = {}
    for name in ("time_start", "time_end"):
        match = re.fullmatch(r"(\d{1,9})(\.0*)?", row[name], re.ASCII)
        if not match:
            raise UserError(f"{where}: {name} {row[name]!r} is not a whole number of seconds")
        times[name] = int(match[1])
    # Folders of classes are named with spaces or with underscores in their place.
    spellings = dict.fromkeys((row["label"], row["label"].replace(" ", "_"), row["label"].replace("_", " ")))
    file = "{id}_{start:06d}_{end:06d}.mp4"
    templates = (file, "{label}/" + file) if video_name is None else (video_name,)
    paths = [
        _fill(template, id=row["youtube_id"], label=label, split=row.get("split", ""), start=times["time_start"],
              end=times["time_end"])
        for template in templates
        for label in spellings
    ]  # fmt: skip
    return Row(number, tuple(dict.fromkeys(_named(path, where) for path in paths)), row["label"], any_suffix=video_name is None)


def _fill(template: str, **fields: str | int) -> str:
    try:
        _check_template(template)
        return template.format(**fields)
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        names = ", ".join("{" + name + "}" for name in fields)
        raise UserError(f"--video-name {template}: cannot be filled in ({error}); it may use {names} of this list") from error


@lru_cache
def _check_template(template: str) -> None:
    used = {name: spec for _, name, spec, _ in string.Formatter().parse(template) if name is not None}
    # Without the id, different lines would mean the same file. Other things that format() can do have no use here.
    plain = all(name.isidentifier() and re.fullmatch(r"(0?\d)?[ds]?", spec or "") for name, spec in used.items())
    if "id" not in used or not plain:
        raise ValueError("it must contain {id}, and fields only")
