"""Reads the scores that `test --dump` writes. Nothing in such a file can run: it may come from anywhere."""

import itertools
import pickle
import pickletools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.schemas import ShapeError, decode_object, parse

_RULE = "give what test --dump wrote: a list of {path, label, scores}"
_MOST_BYTES, _MOST_CLASSES = 2 << 30, 4096
_FLOATS = re.compile(rb"(?:G.{8})+", re.DOTALL)
_ALLOWED = (
    "PROTO FRAME MARK STOP EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS MEMOIZE BINPUT LONG_BINPUT BINGET LONG_BINGET "
    "SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINFLOAT BININT BININT1 BININT2 LONG1 NONE NEWTRUE NEWFALSE"
)
"""What lists, dicts, texts and numbers are made of: none of it names, calls or hashes anything."""
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_ALLOWED_CODES = frozenset(opcode.code for opcode in pickletools.opcodes if opcode.name in _ALLOWED.split())


@dataclass(frozen=True)
class Result:
    """The scores of a list's videos."""

    path: Path
    videos: Sequence[str]
    """As in the list."""
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    """[videos, K], finite; probabilities if test wrote them."""
    summary: dict[str, Any]
    """What stands beside the file: with what was scored. Empty if nothing does."""

    def guesses(self) -> NDArray[np.int64]:
        """Returns each video's best class; of equal ones the first."""
        return np.asarray(self.scores.argmax(1), dtype=np.int64)

    def ranks(self) -> NDArray[np.int64]:
        """Returns how many classes stand before the label of each video: it is among the top k if they are fewer than k."""
        own = self.scores[np.arange(len(self.labels)), self.labels][:, None]
        before = np.arange(self.scores.shape[1]) < self.labels[:, None]
        return np.asarray(((self.scores > own) | ((self.scores == own) & before)).sum(1), dtype=np.int64)

    def probabilities(self) -> NDArray[np.float64]:
        """Returns the scores, [videos, K]; their softmax where they are no probabilities."""
        if (self.scores >= 0).all() and np.allclose(self.scores.sum(1), 1, atol=1e-2):
            return self.scores
        powers = np.exp(self.scores - self.scores.max(1, keepdims=True))
        return np.asarray(powers / powers.sum(1, keepdims=True), dtype=np.float64)


def read_dump(path: Path) -> Result:
    """Reads the scores of a list, and their summary if it stands beside them.

    Raises:
        UserError: the file cannot be read, is damaged, or is something else.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path}: has {path.stat().st_size} bytes, more than {_MOST_BYTES}; {_RULE}")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        rows = _unpickle(data) if path.suffix == ".pkl" else parse(data, _MOST_BYTES)
    # A damaged or hostile file may raise anything; whatever it is, nothing of it has run and the file is refused.
    except Exception as error:
        raise UserError(
            f"{path}: cannot be read as scores ({type(error).__name__}: {str(error) or 'damaged'}); {_RULE}"
        ) from error
    return _result(path, rows, len(data))


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _unpickle(data: bytes) -> Any:
    _check_opcodes(data)
    return _Unpickler(BytesIO(data)).load()


def _check_opcodes(data: bytes) -> None:
    """Refuses a pickle that would end the process or fill its memory while it is read, not one that is merely wrong."""
    file, place = BytesIO(data), 0
    for count in itertools.count():
        floats = _FLOATS.match(data, place)  # nearly all of the file
        place = floats.end() if floats else place
        code = chr(data[place])
        if code not in _ALLOWED_CODES:
            raise pickle.UnpicklingError(f"it holds {_OPCODES[code].name if code in _OPCODES else 'no opcode'} at byte {place}")
        opcode = _OPCODES[code]
        file.seek(place + 1)
        argument = opcode.arg.reader(file) if opcode.arg else 0
        if opcode.name in ("BINPUT", "LONG_BINPUT") and int(argument) > count:  # honest ones count up
            raise pickle.UnpicklingError("a memo that leaves places out")
        if opcode.name == "STOP":
            return
        place = file.tell()


def _result(path: Path, rows: Any, size: int) -> Result:
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: holds {'an empty list' if rows == [] else type(rows).__name__}; {_RULE}")
    num_classes = len(rows[0]["scores"]) if isinstance(rows[0], dict) and isinstance(rows[0].get("scores"), list) else 0
    # However often a pickle names one list, an honest one has a byte for each score.
    if num_classes > _MOST_CLASSES or len(rows) * num_classes > size:
        raise UserError(f"{path}: claims {len(rows)} rows of {num_classes} classes in {size} bytes; {_RULE}")
    for place, row in enumerate(rows):
        if problem := _problem(row, num_classes):
            raise UserError(f"{path}: row {place + 1} of {len(rows)}: {problem}; {_RULE}")
    try:
        scores = np.array([row["scores"] for row in rows], dtype=np.float64)
    except OverflowError as error:
        raise UserError(f"{path}: a score is larger than any float; score again, or mend the file") from error
    if not np.isfinite(scores).all():
        place = int((~np.isfinite(scores).all(1)).argmax())
        raise UserError(f"{path}: row {place + 1} of {len(rows)}: a score is not finite; score again, or mend the file")
    labels = np.array([row["label"] for row in rows], dtype=np.int64)
    return Result(path, [row["path"] for row in rows], labels, scores, _summary(path))


def _problem(row: Any, num_classes: int) -> str | None:
    """Says what is wrong with a row, its scores' values aside."""
    if not isinstance(row, dict) or not {"path", "label", "scores"} <= row.keys():
        return "is no {path, label, scores}"
    video, label, scores = row["path"], row["label"], row["scores"]
    if type(video) is not str or type(label) is not int:
        return f"path and label are {type(video).__name__} and {type(label).__name__}, not a text and a whole number"
    if type(scores) is not list or len(scores) != num_classes:
        return f"scores is no list of numbers, as many as in the first row ({num_classes})"
    if not scores or not set(map(type, scores)) <= {int, float}:
        return "scores is no list of numbers"
    if not 0 <= label < num_classes:
        return f"label {label!s:.20} is not between 0 and {num_classes - 1}"
    return None


def _summary(path: Path) -> dict[str, Any]:
    try:
        return decode_object(path.with_name(path.name + ".summary.json").read_bytes())
    except (OSError, ShapeError):
        return {}
