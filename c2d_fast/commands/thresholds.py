"""Files of a threshold for each class: `test` writes them, `predict` reads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.formats.schemas import ShapeError, decode_object, encode
from c2d_fast.lists.label_map import class_key
from c2d_fast.reporting.scores import Scores

_RULE = 'give what test --thresholds wrote, or {"class": number, ...} with a number of 0 to 1 for every class'


def check_kind(flag: str, given: Any, kind: str) -> None:
    """Refuses a flag that is of models of several labels a video.

    Raises:
        UserError: it was given, and the labels of the model are of another kind.
    """
    if given is not None and kind != "several":
        raise UserError(
            f"{flag} {given}: is for models of several labels a video, and this one's labels are of kind {kind}; leave it out"
        )


def write_thresholds(path: Path, scores: Scores, classes: Sequence[str] | None) -> None:
    """Writes each class's threshold of the best F1 on a list, and this F1 (0..1): {class: {"threshold": t, "f1": f}}.

    A class without a video has the threshold 0.5 and no F1.

    Args:
        path: of the JSON file.
        scores: of the list.
        classes: names by label; None: the numbers name them.

    Raises:
        UserError: it cannot be written; then there is none.
    """
    thresholds, f1 = (figures.tolist() for figures in scores.best_thresholds())
    names = classes or [str(label) for label in range(len(thresholds))]
    found = {name: {"threshold": at, "f1": best} for name, at, best in zip(names, thresholds, f1, strict=True)}
    try:
        with atomic_write(path) as partial:
            partial.write_text(encode(found, indent=2) + "\n")
    except OSError as error:
        raise UserError(
            f"--thresholds {path}: cannot be written ({error.strerror}); free the disk or give another file"
        ) from error
    print(f"thresholds of {len(names)} classes written to {path}")


def read_thresholds(path: Path, classes: Sequence[str]) -> list[float]:
    """Reads a threshold for each class, by the classes' names or numbers.

    Args:
        path: of the JSON file.
        classes: names by label.

    Returns:
        0..1, by label.

    Raises:
        UserError: the file cannot be read, names an unknown class or leaves one out, or has a threshold that is not 0..1.
    """
    try:
        content = decode_object(path.read_bytes())
    except OSError as error:
        raise UserError(f"--thresholds {path}: cannot be read ({error.strerror}); {_RULE}") from error
    except ShapeError as error:
        raise UserError(f"--thresholds {path}: cannot be read as thresholds ({error}); {_RULE}") from error
    labels = {class_key(name): label for label, name in enumerate(classes)}
    numbers = {str(label): label for label in range(len(classes))}
    found: dict[int, float] = {}
    for name, value in content.items():
        label = labels.get(class_key(name), numbers.get(name))
        if label is None:
            raise UserError(
                f"--thresholds {path}: class {name!r:.100} is unknown to the model, which has {len(classes)} classes, such as "
                f"{classes[0]!r:.100}; {_RULE}"
            )
        if label in found:
            raise UserError(f"--thresholds {path}: class {name!r:.100} is named twice; {_RULE}")
        number: Any = value.get("threshold") if isinstance(value, dict) else value
        if type(number) not in (int, float) or not 0 <= number <= 1:
            raise UserError(f"--thresholds {path}: class {name!r:.100}: {number!r:.50} is no number of 0 to 1; {_RULE}")
        found[label] = float(number)
    missing = [label for label in range(len(classes)) if label not in found]
    if missing:
        raise UserError(
            f"--thresholds {path}: lacks {len(missing)} of {len(classes)} classes, first {classes[missing[0]]!r:.100}; {_RULE}"
        )
    return [found[label] for label in range(len(classes))]
