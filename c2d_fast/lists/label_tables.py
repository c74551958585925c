"""Tables of videos and their labels: CSV whose first column is path, with columns of labels or a column for each class."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from c2d_fast.errors import UserError
from c2d_fast.formats.label_sets import NO_LABEL
from c2d_fast.lists.label_map import NAME_RULE, class_key, is_class_name
from c2d_fast.lists.row import Pairs, Row, parse_cell, parse_weight
from c2d_fast.remote.remote_path import Location

_FIRST = ("path", "video")
_LABEL_COLUMN = re.compile(r"labels?_?\d{0,9}", re.ASCII)


class _Columns(NamedTuple):
    """What a table's first line says."""

    width: int
    labels: tuple[int, ...]
    """Places of columns of labels; none where each column is a class."""
    classes: tuple[str, ...]
    """Otherwise the classes, from the second column on."""

    @property
    def are_numbers(self) -> bool:
        """Whether the classes are called by their labels."""
        return all(re.fullmatch(r"\d{1,9}", name, re.ASCII) for name in self.classes)


def starts_label_table(first: str) -> bool:
    """Says of the first line of a list whether it is that of such a table."""
    return "," in first and first.split(",", maxsplit=1)[0].strip().strip('"').lower() in _FIRST


def label_table_rows(text: str, path: Location, named: Callable[[str, str], str]) -> Iterator[Row]:
    """Reads such a table.

    Args:
        text: of the list.
        path: of the list, for messages.
        named: returns a path as a line has it, for its line in messages.

    Raises:
        UserError: a line breaks a rule; named with its number.
    """
    reader = csv.reader(io.StringIO(text), skipinitialspace=True, strict=True)
    try:
        columns = _columns(next(row for row in reader if row), path)
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            where, number = f"{path}:{reader.line_num}", reader.line_num
            if len(fields) != columns.width:
                raise UserError(
                    f"{where}: has {len(fields)} fields, the table's first line {columns.width}; they must be as many"
                )
            if not fields[0].strip():
                raise UserError(f"{where}: its path is empty; each video needs one")
            paths = (named(fields[0].strip(), where),)
            pairs = _cells(columns, fields, where) if columns.labels else _shares(columns, fields, where)
            is_one = len(columns.labels) == 1 and len(pairs) == 1 and pairs[0][1] == 1
            yield Row(number, paths, pairs[0][0]) if is_one else Row(number, paths, NO_LABEL, several=pairs)
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: cannot be read as comma-separated values ({error})") from error


def columns_of_classes(text: str, path: Location) -> tuple[str, ...] | None:
    """Returns the names that such a table's columns give the classes, in their order; None where they give none.

    Raises:
        UserError: the table's first line breaks a rule.
    """
    first = next((line for line in text.split("\n") if line.strip()), "")
    if not starts_label_table(first.strip()):
        return None
    reader = csv.reader(io.StringIO(text), skipinitialspace=True, strict=True)
    try:
        columns = _columns(next(row for row in reader if row), path)
    except csv.Error:  # which reading the rows says
        return None
    return None if columns.labels or columns.are_numbers else columns.classes


def _columns(header: list[str], path: Location) -> _Columns:
    names = [field.strip() for field in header]
    labels = tuple(place for place, name in enumerate(names) if place and _LABEL_COLUMN.fullmatch(name.lower()))
    classes = () if labels else tuple(names[1:])
    seen: dict[str, str] = {}
    for name in [names[place] for place in labels] or classes:
        if not is_class_name(name):
            raise UserError(f"{path}:1: the table's column {name!r:.50} can be no class: {NAME_RULE}")
        if class_key(name) in seen:
            raise UserError(f"{path}:1: the table has the column {name!r:.50} more than once")
        seen[class_key(name)] = name
    return _Columns(len(names), labels, classes)


def _cells(columns: _Columns, fields: list[str], where: str) -> Pairs:
    """Returns the labels that stand in a line's columns of labels."""
    pairs = tuple(pair for place in columns.labels for pair in parse_cell(fields[place].strip(), where))
    for label, _ in pairs:
        if isinstance(label, str) and not is_class_name(label):
            raise UserError(f"{where}: label {label!r:.50} can be no class: {NAME_RULE}")
    return pairs


def _shares(columns: _Columns, fields: list[str], where: str) -> Pairs:
    """Returns the classes whose columns hold more than 0 in a line."""
    pairs = []
    for name, field in zip(columns.classes, fields[1:], strict=True):
        if (cell := field.strip()) in ("", "0"):  # most of them
            continue
        weight = 1.0 if cell == "1" else parse_weight(cell, where, f"what column {name:.50} holds,")
        pairs.append((int(name) if columns.are_numbers else name, weight))
    return tuple(pairs)
