"""Reads the scores that `test --dump` writes. Nothing in such a file can run: it may come from anywhere."""

import itertools
import pickle
import pickletools
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.formats.schemas import ShapeError, decode_object, parse
from c2d_fast.reporting.dump_rows import labels_of, problem_of_forms, problem_of_row, targets_of

_RULE = "give what test --dump wrote: a list of {path, label, scores}"
_NUMBERS = ("scores", "weights")
"""Lists of numbers in a row."""
_MOST_BYTES, _MOST_CLASSES = 16 << 30, 1_000_000
_FLOAT64: "np.dtype[Any]" = np.dtype(np.float64)
_FLOATS = re.compile(rb"(?:G.{8})+", re.DOTALL)
_RUN = 8
"""Floats in a row that are read as an array: as Python's own each would take four times the memory."""
_FLOAT = np.dtype([("opcode", "u1"), ("value", ">f8")])
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
    """Of several the first; -1 where the list says nothing of the video, or gives it no class."""
    scores: NDArray[np.float64]
    """[videos, K], finite; probabilities if test wrote them."""
    summary: dict[str, Any]
    """What stands beside the file: with what was scored. Empty if nothing does."""
    kind: str = "single"
    """What labels mean, as in recipe.Labels: single, several or soft."""
    targets: NDArray[np.float32] | None = None
    """[videos, K], above 0 where a video has the class; None of kind single."""
    counted: NDArray[np.bool_] | None = None
    """Which videos the list says something of, [videos]; None: all."""

    def guesses(self) -> NDArray[np.int64]:
        """Returns each video's best class; of equal ones the first."""
        return np.asarray(self.scores.argmax(1), dtype=np.int64)

    def ranks(self) -> NDArray[np.int64]:
        """Returns how many classes stand before the label of each video: it is among the top k if they are fewer than k.

        Of several labels that which stands first counts; where there is none, K.
        """
        ranks = np.full(len(self.labels), self.scores.shape[1])
        for video, (row, first) in enumerate(zip(self.scores, self.labels.tolist(), strict=True)):  # each is a row of K
            if first >= 0:
                label = first if self.targets is None else int(np.where(self.targets[video] > 0, row, -np.inf).argmax())
                ranks[video] = np.count_nonzero(row > row[label]) + np.count_nonzero(row[:label] == row[label])
        return ranks

    def probabilities(self) -> NDArray[np.float64]:
        """Returns the scores, [videos, K]; where they are no probabilities their softmax, of several labels their sigmoid."""
        if self.kind == "several":
            within = (self.scores >= 0).all() and (self.scores <= 1).all()
            return self.scores if within else np.asarray(1 / (1 + np.exp(-self.scores.clip(-700))), dtype=np.float64)
        if (self.scores >= 0).all() and np.allclose(self.scores.sum(1), 1, atol=1e-2):
            return self.scores
        powers = np.exp(self.scores - self.scores.max(1, keepdims=True))
        return np.asarray(powers / powers.sum(1, keepdims=True), dtype=np.float64)

    def of_counted(self) -> "Result":
        """Returns the videos that the list says something of.

        Raises:
            UserError: there is none.
        """
        if self.counted is None:
            return self
        if not self.counted.any():
            raise UserError(f"{self.path}: none of its {len(self.labels)} videos has a label; score a list that has labels")
        rows = np.flatnonzero(self.counted)
        return replace(
            self,
            videos=list(itertools.compress(self.videos, self.counted.tolist())),
            labels=self.labels[rows],
            scores=self.scores[rows],
            targets=None if self.targets is None else self.targets[rows],
            counted=None,
        )


def read_dump(path: Path, dtype: "np.dtype[Any]" = _FLOAT64) -> Result:
    """Reads the scores of a list, and their summary if it stands beside them.

    Args:
        path: of the file.
        dtype: of the scores: float64, or float32 for half the memory.

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
        rows = _unpickle(data, dtype) if path.suffix == ".pkl" else _from_json(data, dtype)
    # A damaged or hostile file may raise anything; whatever it is, nothing of it has run and the file is refused.
    except Exception as error:
        raise UserError(
            f"{path}: cannot be read as scores ({type(error).__name__}: {str(error) or 'damaged'}); {_RULE}"
        ) from error
    size = len(data)
    del data  # nothing of it is looked at any more
    return _result(path, rows, size, dtype)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _unpickle(data: bytes, dtype: "np.dtype[Any]") -> Any:
    runs: dict[str, NDArray[np.float64]] = {}
    rows = _Unpickler(BytesIO(_without_runs(data, runs))).load()
    arrays: dict[int, tuple[Any, Any]] = {}  # of each list one array, however many rows name it
    for row in rows if isinstance(rows, list) else ():
        for name in _NUMBERS if isinstance(row, dict) else ():
            if type(numbers := row.get(name)) is list:
                if id(numbers) not in arrays:
                    arrays[id(numbers)] = numbers, _as_array(numbers, runs, len(data), dtype)
                row[name] = arrays[id(numbers)][1]
    return rows


def _from_json(data: bytes, dtype: "np.dtype[Any]") -> Any:
    def with_arrays(row: dict[str, Any]) -> dict[str, Any]:
        for name in _NUMBERS:
            if type(numbers := row.get(name)) is list:
                row[name] = _as_array(numbers, {}, len(numbers), dtype)
        return row

    return parse(data, _MOST_BYTES, object_hook=with_arrays)


def _as_array(scores: list[Any], runs: dict[str, NDArray[np.float64]], most: int, dtype: "np.dtype[Any]") -> Any:
    """Returns a list of numbers as an array, with the runs that it names; anything else as it is."""
    parts = [runs.get(item) if type(item) is str else item for item in scores]
    if not parts or not {*map(type, parts)} <= {int, float, np.ndarray}:
        return scores
    if sum(len(part) if isinstance(part, np.ndarray) else 1 for part in parts) > most:
        raise ValueError("more scores than the file has bytes")
    try:
        with np.errstate(over="ignore"):  # what no float32 holds is not finite, and is refused later
            if runs:
                return np.concatenate(
                    [np.atleast_1d(np.asarray(part, np.float64)) for part in parts], dtype=dtype, casting="same_kind"
                )
            return np.array(parts, np.float64).astype(dtype)
    except OverflowError:  # said later, of which row it is
        return scores


def _without_runs(data: bytes, runs: dict[str, NDArray[np.float64]]) -> bytes:
    """Returns a pickle in which a text stands for each run of floats, and no frames.

    Raises:
        UnpicklingError: it would end the process or fill its memory while it is read; not where it is merely wrong.
    """
    file, offset = BytesIO(data), 0
    mark, kept = secrets.token_hex(8), []  # no file can know the texts beforehand
    for count in itertools.count():
        floats = _FLOATS.match(data, offset)  # nearly all of the file
        if floats and floats.end() - offset >= _RUN * _FLOAT.itemsize:
            name = f"{mark}{len(runs)}"
            runs[name] = np.frombuffer(data, _FLOAT, (floats.end() - offset) // _FLOAT.itemsize, offset)["value"]
            kept.append(b"\x8c" + bytes([len(name)]) + name.encode())  # SHORT_BINUNICODE
        elif floats:
            kept.append(floats[0])
        offset = floats.end() if floats else offset
        code = chr(data[offset])
        if code not in _ALLOWED_CODES:
            raise pickle.UnpicklingError(
                f"it holds {_OPCODES[code].name if code in _OPCODES else 'no opcode'} at byte {offset}"
            )
        opcode = _OPCODES[code]
        file.seek(offset + 1)
        argument = opcode.arg.reader(file) if opcode.arg else 0
        if opcode.name in ("BINPUT", "LONG_BINPUT") and int(argument) > count:  # honest ones count up
            raise pickle.UnpicklingError("a memo that leaves places out")
        start, offset = offset, file.tell()
        if opcode.name != "FRAME":
            kept.append(data[start:offset])
        elif offset + int(argument) > len(data):
            raise pickle.UnpicklingError("a frame that is longer than the file")
        if opcode.name == "STOP":
            return b"".join(kept)
    raise AssertionError


def _result(path: Path, rows: Any, size: int, dtype: "np.dtype[Any]") -> Result:
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: holds {'an empty list' if rows == [] else type(rows).__name__}; {_RULE}")
    first = rows[0].get("scores") if isinstance(rows[0], dict) else None
    num_classes = len(first) if isinstance(first, (list, np.ndarray)) else 0
    # However often a pickle names one list, an honest one has a byte for each score.
    if num_classes > _MOST_CLASSES or len(rows) * num_classes > size:
        raise UserError(f"{path}: claims {len(rows)} rows of {num_classes} classes in {size} bytes; {_RULE}")
    for index, row in enumerate(rows):
        if problem := problem_of_row(row, num_classes):
            raise UserError(f"{path}: row {index + 1} of {len(rows)}: {problem}; {_RULE}")
    if problem := problem_of_forms(rows):
        raise UserError(f"{path}: {problem}; {_RULE}")
    try:
        scores = np.empty((len(rows), num_classes), dtype)
        for index, row in enumerate(rows):
            scores[index] = row["scores"]
    except OverflowError as error:
        raise UserError(f"{path}: a score is larger than any float; score again, or mend the file") from error
    finite = np.array([np.isfinite(row).all() for row in scores])
    if not finite.all():
        index = int(finite.argmin())
        raise UserError(f"{path}: row {index + 1} of {len(rows)}: a score is not finite; score again, or mend the file")
    videos = [row["path"] for row in rows]
    return Result(path, videos, labels_of(rows), scores, _summary(path), *targets_of(rows, num_classes))


def _summary(path: Path) -> dict[str, Any]:
    try:
        return decode_object(path.with_name(path.name + ".summary.json").read_bytes())
    except (OSError, ShapeError):
        return {}
