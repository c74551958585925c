"""One video of a list, as its line says it: where the file may be, and its labels."""

import re
from dataclasses import dataclass

import numpy as np

from c2d_fast.errors import UserError
from c2d_fast.formats.label_sets import NO_LABEL

Label = int | str
"""A class's number, or its name."""
Pairs = tuple[tuple[Label, float], ...]
"""Labels of one video, each with its weight."""
_NUMBER = re.compile(r"-?\d{1,18}", re.ASCII)
_WEIGHT = re.compile(r"[-+]?(\d{1,20}\.?\d{0,40}|\.\d{1,40})([eE][-+]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True)
class Row:
    """One video of a list."""

    line: int
    """1-based line in the list; 0 where there are none."""
    paths: tuple[str, ...]
    """Where the file may be, relative to the data root, the likeliest first."""
    label: Label
    """The label, or a class's name; NO_LABEL where it has several."""
    any_suffix: bool = False
    """Whether the file may be of another container than the paths say: of ids, whose files the user has not named."""
    several: Pairs | None = None
    """Its labels, where they are not just one: any number of them, or shares."""

    @property
    def pairs(self) -> Pairs:
        """Returns its labels with their weights; none where the one label is NO_LABEL."""
        if self.several is not None:
            return self.several
        return () if self.label == NO_LABEL else ((self.label, 1.0),)


def parse_label(label: str, where: str, rule: str) -> int:
    """Parses a label, a whole number.

    Raises:
        UserError: it is none.
    """
    # int() would also take "1_0" and "+1", which no list means.
    if not _NUMBER.fullmatch(label):
        raise UserError(f"{where}: label {label!r:.50} is not a whole number; {rule}")
    return int(label)


def parse_weight(text: str, where: str, what: str) -> float:
    """Parses a weight: 0 to 1, rounded to what float32 holds.

    Raises:
        UserError: it is no number, or not 0 to 1.
    """
    if not _WEIGHT.fullmatch(text):
        raise UserError(f"{where}: {what} {text!r:.50} is not a number; it must be 0 to 1")
    weight = float(text)
    if not 0 <= weight <= 1:
        raise UserError(f"{where}: {what} {text:.50} is out of range; it must be 0 to 1")
    return float(np.float32(weight))


def parse_labels(word: str, where: str, rule: str) -> Pairs:
    """Parses the labels of a line, whole numbers with commas between them, a weight behind a colon: `3,5`, `3:0.7,5:0.3`.

    Raises:
        UserError: one is no whole number, or a weight is not 0 to 1.
    """
    parts = [part.partition(":") for part in word.split(",")]
    return tuple(
        (parse_label(label, where, rule), parse_weight(weight, where, f"weight of label {label}") if colon else 1.0)
        for label, colon, weight in parts
    )


def parse_cell(cell: str, where: str) -> Pairs:
    """Parses a table's cell of labels, parted by semicolons, or numbers by spaces: whole numbers are labels, others names.

    Raises:
        UserError: a weight of a number is not 0 to 1.
    """
    words = cell.split(";") if ";" in cell else cell.split()
    if ";" not in cell and not all(_NUMBER.fullmatch(word.partition(":")[0]) for word in words):
        words = [cell]  # names may hold spaces
    return tuple(_parse_word(word.strip(), where) for word in words if word.strip())


def _parse_word(word: str, where: str) -> tuple[Label, float]:
    label, colon, weight = (part.strip() for part in word.rpartition(":"))
    if not colon:
        return _number_or_name(word), 1.0
    if _NUMBER.fullmatch(label) or _WEIGHT.fullmatch(weight):
        return _number_or_name(label), parse_weight(weight, where, f"weight of label {label:.50}")
    return word, 1.0  # a name with a colon


def _number_or_name(text: str) -> Label:
    return int(text) if _NUMBER.fullmatch(text) else text
