"""The rows of a dump: what is wrong with one, and the labels that they give.

A row's label is a number; where videos may have several, a list of numbers, and with shares of classes "weights" beside it, as
many. It is None where the list says nothing of the video. Scores and weights are arrays here, where they are numbers at all.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = dict[str, Any]
_LARGEST = 1e6
"""Weight of a label."""


def problem_of_row(row: Any, num_classes: int) -> str | None:
    """Says what is wrong with a row, its scores' values aside.

    Args:
        row: whatever a file holds.
        num_classes: scores in the first one.
    """
    if not isinstance(row, dict) or not {"path", "label", "scores"} <= row.keys():
        return "is no {path, label, scores}"
    video, label, scores = row["path"], row["label"], row["scores"]
    if type(video) is not str or type(label) not in (int, list, type(None)):
        return f"path and label are {type(video).__name__} and {type(label).__name__}, not a text and a whole number"
    if type(scores) not in (list, np.ndarray) or len(scores) != num_classes:
        return f"scores is no list of numbers, as many as in the first row ({num_classes})"
    if type(scores) is list and (not scores or not set(map(type, scores)) <= {int, float}):
        return "scores is no list of numbers"
    if type(label) is int:
        return None if 0 <= label < num_classes else f"label {label!s:.20} is not between 0 and {num_classes - 1}"
    return _problem_of_labels(row, num_classes) if type(label) is list else None


def _problem_of_labels(row: Row, num_classes: int) -> str | None:
    label = row["label"]
    if len(label) > num_classes or any(type(one) is not int for one in label):
        return f"label is no list of whole numbers, {num_classes} at most"
    if wrong := [one for one in label if not 0 <= one < num_classes]:
        return f"label {wrong[0]!s:.20} is not between 0 and {num_classes - 1}"
    if len(set(label)) < len(label):
        return "label names a class twice"
    if "weights" in row:
        weights = row["weights"]
        if type(weights) not in (list, np.ndarray) or len(weights) != len(label):
            return f"weights is no list of numbers, as many as labels ({len(label)})"
        if len(weights) and not (isinstance(weights, np.ndarray) and ((weights > 0) & (weights <= _LARGEST)).all()):
            return f"weights are not all above 0, and {_LARGEST:g} at most"
    return None


def problem_of_forms(rows: Sequence[Row]) -> str | None:
    """Says that rows, each right in itself, have labels of several forms."""
    forms = {(type(row["label"]).__name__, "weights" in row) for row in rows if row["label"] is not None}
    forms = {("int", False) if form[0] == "int" else form for form in forms}
    return "has labels of several forms: all must be numbers, or lists, or lists with weights" if len(forms) > 1 else None


def labels_of(rows: Sequence[Row]) -> NDArray[np.int64]:
    """Returns each row's label, of several the first; -1 where there is none."""
    labels = (row["label"] for row in rows)
    return np.array(
        [(label or [-1])[0] if type(label) is list else -1 if label is None else label for label in labels], np.int64
    )


def targets_of(rows: Sequence[Row], num_classes: int) -> tuple[str, NDArray[np.float32] | None, NDArray[np.bool_] | None]:
    """Returns what the labels mean, as recipe.Labels says it, the targets float32 [rows, K], and which rows have been labelled.

    Returns:
        ("single", None, ...) where labels are numbers; in place of the last None where all have been labelled.
    """
    named = [row["label"] for row in rows]
    is_soft = any("weights" in row for row in rows)
    kind = "single" if not any(type(label) is list for label in named) else "soft" if is_soft else "several"
    counted = np.array([label is not None and (kind != "soft" or label != []) for label in named])
    targets = None
    if kind != "single":
        targets = np.zeros((len(rows), num_classes), np.float32)
        for target, row, label in zip(targets, rows, named, strict=True):
            if label:
                target[label] = row.get("weights", 1)
    return kind, targets, None if counted.all() else counted
