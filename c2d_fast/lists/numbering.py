"""From the labels and class names of a list's rows to numbers: by the label map, or in an order of their own."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from c2d_fast.errors import UserError, on_one_line
from c2d_fast.formats.label_sets import NO_LABEL, LabelSets
from c2d_fast.lists.label_map import class_key, sorted_classes
from c2d_fast.lists.row import Label, Row
from c2d_fast.remote.remote_path import Location


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What labels may be, and what they stand for."""

    num_classes: int | None = None
    """Labels must be below it; None: any will do."""
    classes: tuple[str, ...] | None = None
    """The classes' names by label; None: the names that the list gives get numbers in alphabetical order."""
    ignore: int | None = None
    """With it, it and NO_LABEL say that a video has no label."""
    columns: tuple[str, ...] | None = None
    """Names that the list has an order of its own for, where classes are not given."""

    def number(self, label: Label, numbers: dict[str, int], row: Row, path: Location) -> int:
        """Returns a row's label as its number, NO_LABEL of one that says there is none.

        Raises:
            UserError: it is out of range, or a name that has no number.
        """
        number = label if isinstance(label, int) else numbers.get(class_key(label))
        if number is None:
            raise UserError(
                f"{row_location(row, path)}: class {label!r} is not in the label map of {len(numbers)} names; correct either"
            )
        if self.ignore is not None and number in (self.ignore, NO_LABEL):
            return NO_LABEL
        if number < 0 or (self.num_classes is not None and number >= self.num_classes):
            raise UserError(
                f"{row_location(row, path)}: label {number} is out of range; labels go from 0"
                + (f" to {self.num_classes - 1} (change --num-classes or the list)" if self.num_classes else "")
            )
        return number


@dataclass(frozen=True)
class Numbered:
    """The labels of a list's rows, by number."""

    labels: tuple[int, ...]
    """Of several labels the heaviest, of like ones the first; NO_LABEL where there is none."""
    sets: LabelSets | None
    """All of them, where some row has not just one."""
    classes: tuple[str, ...] | None


def number_labels(rows: Sequence[Row], path: Location, meaning: Meaning) -> Numbered:
    """Returns the rows' labels by number, and the classes' names where they are known.

    Raises:
        UserError: a label is out of range, a name has no number, or a row has a label twice.
    """
    classes, has_sets = meaning.classes, any(row.several is not None for row in rows)
    if classes is None and all(isinstance(row.label, str) and re.fullmatch(r"\d{1,9}", row.label, re.ASCII) for row in rows):
        rows = [replace(row, label=int(row.label)) for row in rows]  # folders that are called by their labels
    if classes is None and meaning.columns is not None:
        classes = meaning.columns
        _check_count(classes, path, meaning.num_classes)
    elif classes is None and any(isinstance(label, str) for row in rows for label, _ in row.pairs):
        _refuse_mixed(rows, path)
        classes = _derived_classes((str(label) for row in rows for label, _ in row.pairs), path, meaning.num_classes)
    numbers = {class_key(name): label for label, name in enumerate(classes or ())}
    if not has_sets:
        labels = tuple(meaning.number(row.label, numbers, row, path) for row in rows)
        return Numbered(labels, None, classes)
    sets = LabelSets.from_pairs(_numbered_pairs(row, path, numbers, meaning) for row in rows)
    return Numbered(tuple(sets.heaviest().tolist()), sets, classes)


def row_location(row: Row, path: Location) -> str:
    """Returns `list.txt:12`, or of a folder's video its path."""
    return f"{path}:{row.line}" if row.line else f"{path / row.paths[0]}"


def _numbered_pairs(row: Row, path: Location, numbers: dict[str, int], meaning: Meaning) -> list[tuple[int, float]]:
    found: dict[int, float] = {}
    for label, weight in row.pairs:
        number = meaning.number(label, numbers, row, path)
        if number in found and number != NO_LABEL:
            raise UserError(f"{row_location(row, path)}: label {label!r} is there twice; name each once")
        found[number] = weight
    return [(number, weight) for number, weight in found.items() if number != NO_LABEL]


def _refuse_mixed(rows: Iterable[Row], path: Location) -> None:
    """Refuses a list with numbers and names: which name has which number is not said.

    Raises:
        UserError: it is one.
    """
    first: dict[type, tuple[Label, str]] = {}
    for row in rows:
        for label, _ in row.pairs:
            first.setdefault(type(label), (label, row_location(row, path)))
        if len(first) == 2:
            (number, where), (name, _) = first[int], first[str]
            raise UserError(
                f"{where}: label {number} is a number, and {name!r:.50} a class's name; give either, or all names in the order "
                "of their labels with --label-map FILE"
            )


def _derived_classes(names: Iterable[str], path: Location, num_classes: int | None) -> tuple[str, ...]:
    classes = sorted_classes(names)
    if num_classes is None:
        return classes
    _check_count(classes, path, num_classes)
    some = ", ".join(classes[:5]) + (", ..." if num_classes > 5 else "")
    print(on_one_line(f"classes of {path}, numbered in alphabetical order, for want of a label map: {some}"))
    return classes


def _check_count(classes: tuple[str, ...], path: Location, num_classes: int | None) -> None:
    if num_classes is not None and len(classes) != num_classes:
        raise UserError(
            f"list {path}: has {len(classes)} class names, and the model {num_classes} classes; give --num-classes "
            f"{len(classes)}, or all names in the order of their labels with --label-map FILE"
        )
