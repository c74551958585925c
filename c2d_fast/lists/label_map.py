"""Class names and their numbers: the label map, and how a folder's or a table's name is matched with it."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from c2d_fast.errors import UserError
from c2d_fast.lists.fetched import fetched
from c2d_fast.remote.remote_path import Location, user_location

NAME_RULE = "a name is more than spaces and underscores, without NUL and bytes that are not UTF-8"
_NOT_IN_NAMES = re.compile("[\0\ud800-\udfff]")
_NOT_IN_MAPS = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, surrogates, ends of lines and paragraphs
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # the direction of writing
_RULE = "give one class name a line, or `name index` lines"


def read_label_map(source: str | Path) -> tuple[str, ...]:
    """Reads a label map: one class name a line, in the order of the labels, or `name index` lines in any order.

    It is of the second form if every line ends in a whole number and the names before them differ. Names may contain
    spaces and stand in quotes; empty lines are skipped.

    Args:
        source: the file, UTF-8; a path or a URL.

    Returns:
        The names; a class's label is its place.

    Raises:
        UserError: the file cannot be read or is empty, a name or an index occurs twice, or an index is left out.
    """
    path = user_location(str(source))
    lines = [(number, line) for number, line in enumerate(read_text(path, "label map").split("\n"), 1) if line.strip()]
    if not lines:
        raise UserError(f"label map {path}: is empty; {_RULE}")
    _refuse_other_forms(lines, path)
    pairs = [re.fullmatch(r"(.*\S)\s+(\d{1,9})", line.strip(), re.ASCII) for _, line in lines]
    matches = [match for match in pairs if match]
    indexed = len(matches) == len(lines) and len({class_key(unquote(match[1])) for match in matches}) == len(matches)
    names: dict[int, str] = {}
    seen: dict[str, int] = {}
    for place, (number, line) in enumerate(lines):
        name, index = (unquote(matches[place][1]), int(matches[place][2])) if indexed else (unquote(line.strip()), place)
        key = class_key(name)
        if not is_class_name(name) or any(unicodedata.category(c) in _NOT_IN_MAPS or c in _TURNING for c in name):
            raise UserError(f"{path}:{number}: {name!r} is no class name; {_RULE}")
        if key in seen:
            raise UserError(f"{path}:{number}: class {name!r} stands in line {seen[key]} already; each must be named once")
        if index in names:
            raise UserError(f"{path}:{number}: index {index} is that of {names[index]!r} already; each must be given once")
        seen[key], names[index] = number, name
    left_out = next((index for index in range(len(names)) if index not in names), None)
    if left_out is not None:
        raise UserError(f"label map {path}: has {len(names)} classes but no index {left_out}; indices must go from 0 up")
    return tuple(names[index] for index in range(len(names)))


def check_same_classes(names: tuple[str, ...], known: tuple[str, ...], what: str, remedy: str) -> None:
    """Checks that two sources give every label the same class.

    Raises:
        UserError: they do not; the first label that differs is named.
    """
    for label, (name, other) in enumerate(zip(names, known, strict=False)):
        if class_key(name) != class_key(other):
            raise UserError(f"{what}: class {label} is {name!r}, the checkpoint was trained with {other!r}; {remedy}")


def sorted_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the different classes among names, one spelling each, in alphabetical order (numbers: in theirs)."""
    spellings: dict[str, str] = {}
    for name in names:
        spellings.setdefault(class_key(name), name)
    by_number = all(key.isascii() and key.isdigit() for key in spellings)  # 2 before 10
    return tuple(spellings[key] for key in sorted(spellings, key=(lambda key: (len(key), key)) if by_number else None))


def class_key(name: str) -> str:
    """Returns what two spellings of a class have in common: `playing_guitar` is `playing guitar`."""
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").split())


def is_class_name(name: str) -> bool:
    """Says whether a folder or a table may name a class so: manifests and checkpoints keep it, messages have it on a line."""
    return bool(class_key(name)) and not _NOT_IN_NAMES.search(name)


def unquote(text: str) -> str:
    """Returns the text without the quotes around it, if there are any; doubled quotes within stand for one."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1].replace(2 * text[0], text[0])
    return text


def _refuse_other_forms(lines: list[tuple[int, str]], path: Location) -> None:
    """Refuses what looks like a table, JSON or a list with the index in front: as names it would number wrong classes."""
    number, first = lines[0]
    if first.strip()[0] in "{[#":
        raise UserError(f"{path}:{number}: {first.strip():.50} is no class name; {_RULE}")
    for pattern, form in ((r"(\d{1,9})\s*[,;\s]\s*\D.*", "the index in front"), (r".*[,;]\s*(\d{1,9})", "commas")):
        for body in (lines, lines[1:]):  # the first may be a header
            indices = [int(match[1]) for _, line in body if (match := re.fullmatch(pattern, line.strip(), re.ASCII))]
            # Names may begin or end with numbers, but not with one number after the other.
            if len(body) > 1 and sorted(indices) in (list(range(len(body))), list(range(1, len(body) + 1))):
                raise UserError(f"label map {path}: has lines with {form}, such as {body[0][1].strip()!r:.50}; {_RULE}")


def read_text(path: Location, what: str) -> str:
    """Reads a UTF-8 text file, with any line ends and with or without a byte order mark.

    Raises:
        UserError: it cannot be read, or is no such text.
    """
    try:
        return decode_text(fetched(path, what).read_bytes(), path, what)
    except OSError as error:
        raise UserError(f"{what} {path}: cannot be read ({error.strerror}); give the path of a text file") from error


def decode_text(raw: bytes, path: Location, what: str) -> str:
    """Decodes the bytes of a text file, as read_text does."""
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{what} {path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    if (at := text.find("\0")) >= 0:
        raise UserError(
            f"{what} {path}:{text.count(chr(10), 0, at) + 1}: holds a NUL byte, which no name can; save it as UTF-8 text"
        )
    return text
