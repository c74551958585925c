"""The shapes of what this project writes as JSON and reads back, and the one place where such text is decoded.

Whatever a file holds, what is returned has the shape that was asked for; otherwise a ShapeError ends a sentence that says why
not. Python's own parser reads the text, since names of files may be any bytes (lone surrogates) and earlier versions wrote NaN
and Infinity, which msgspec's refuses; msgspec holds the shapes.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_origin

from c2d_fast.errors import on_one_line
from c2d_fast.video.facts import DEPTHS, Facts

try:
    import msgspec
    from msgspec import Meta
except ModuleNotFoundError:  # machines without a registry lack it: there files are taken for what this program writes
    msgspec = None  # type: ignore[assignment]

    def Meta(**bounds: Any) -> None:  # type: ignore[no-redef]  # noqa: N802
        """Stands for msgspec's, of which nothing is read."""


_T = TypeVar("_T")
_MOST_BYTES = 32 * 2**20
"""Of a file of plain values: as Python's objects they take some twenty times as much."""
_LONGEST_LINE = 2**20
_DEEPEST, _MOST_VALUES, _LARGEST_BITS = 64, 2**21, 4096

_Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Natural = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Row = Annotated[int, Meta(ge=0, lt=2**31)]
"""Of a list, counted from 0."""
_Count = Annotated[int, Meta(gt=0, lt=2**27)]
_State = tuple[_Int64, _Int64]
_KINDS: dict[Any, Any] = {
    int: Annotated[int, Meta(ge=-(2**31), lt=2**31)],
    bool: bool,
    float: Annotated[float, Meta(ge=0, le=2**32)],
    str: Annotated[str, Meta(max_length=64, pattern=r"^[\x20-\x7e]*\Z")],
}
_FIELDS: dict[str, Any] = {
    **dict.fromkeys(("frames", "packets", "width", "height"), _Count),
    "orientation": Annotated[int, Meta(ge=0, le=7)],
}
_FACTS: list[Any] = [_FIELDS.get(field.name, _KINDS[field.type]) for field in dataclasses.fields(Facts)]
_Facts: Any = tuple[tuple(_FACTS)]  # type: ignore[misc, valid-type]
_CacheEntry: Any = tuple[(_Int64, _Int64, *_FACTS)]  # type: ignore[misc, valid-type]


class ShapeError(ValueError):
    """A text is not of the shape that was asked for; the message ends a sentence, and has one line."""

    def __init__(self, message: str):
        super().__init__(on_one_line(" ".join(message.split()))[:300])


class _PacketLocation(NamedTuple):
    """As in packet_store."""

    file: str
    position: _Natural
    rows: _Natural
    extradata: _Natural
    checksum: _Natural = 0


@dataclass(frozen=True)
class CacheFile:
    """What is known of a data root's videos."""

    format: str
    root: str
    videos: dict[str, _CacheEntry]
    """Relative path -> (size, mtime_ns, fields of Facts)."""


@dataclass(frozen=True)
class QuarantineEntry:
    """A video that broke while a run read it; or that those before are forgotten."""

    list: Literal["train", "val", ""] = ""
    path: str = ""
    unread: bool = False
    """Whether the storage did not give it: it is tried again."""
    forgotten: _Natural = 0


@dataclass(frozen=True)
class Record:
    """The part of a line of metrics.jsonl or machine.jsonl that says where in a run it belongs."""

    step: _Natural
    kind: str = ""
    epoch: _Natural = 0


@dataclass(frozen=True)
class LockOwner:
    """Who writes in a run folder."""

    pid: int
    host: str
    since: str


@dataclass(frozen=True)
class Position:
    """How far a checkpoint's run had come."""

    step: Row
    epoch: Row
    clips: Row
    best_top1: float
    best_epoch: _Int64
    skipped: _Int64


_CLOSED = (CacheFile, Position)
"""Shapes that hold no more than what is named."""


def parse(text: bytes | str, most: int = _MOST_BYTES, *, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Returns the value of a JSON text, of any shape.

    Args:
        text: of the value.
        most: bytes that it may have.
        object_hook: makes of each object what stands in its place.

    Raises:
        ShapeError: it is none, or has more than so many bytes.
    """
    if len(text) > most:
        raise ShapeError(f"it has {len(text)} bytes, more than {most}")
    try:
        return json.loads(text, object_hook=object_hook)
    except (ValueError, RecursionError) as error:
        raise ShapeError(str(error)) from error


def convert(value: Any, kind: type[_T]) -> _T:
    """Returns a value that was parsed, or unpickled, as an object of a shape.

    Raises:
        ShapeError: it has another.
    """
    if kind in _CLOSED and isinstance(value, dict) and (more := value.keys() - kind.__annotations__.keys()):
        raise ShapeError(f"it has no field {sorted(map(str, more))[0]}")
    try:
        return msgspec.convert(value, kind) if msgspec else _taken(value, kind)
    except (ValueError, OverflowError, RecursionError) as error:
        raise ShapeError(str(error)) from error


def _taken(value: Any, kind: Any) -> Any:
    try:
        if dataclasses.is_dataclass(kind):
            return kind(**{name: _taken(value[name], of) for name, of in kind.__annotations__.items() if name in value})  # type: ignore[operator]
        return _tuples(value) if get_origin(kind) is tuple else value
    except TypeError as error:
        raise ShapeError(str(error)) from error


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


def decode(text: bytes | str, kind: type[_T], most: int = _LONGEST_LINE) -> _T:
    """Returns what a JSON text holds.

    Raises:
        ShapeError: it is none, or of another shape.
    """
    return convert(parse(text, most), kind)


def decode_object(text: bytes | str, most: int = _MOST_BYTES) -> dict[str, Any]:
    """Returns an object of any plain values, as check_plain takes them.

    Raises:
        ShapeError: the text is none.
    """
    found = decode(text, dict[str, Any], most)
    check_plain(found)
    return found


def check_plain(value: Any) -> None:
    """Checks that a value can be compared, copied and printed: within bounds however often a file names a part of it.

    Raises:
        ShapeError: it is nested too deeply, has too many parts or an absurd number.
    """
    seen, todo = 0, [(value, 0)]
    while todo:
        item, depth = todo.pop()
        if isinstance(item, dict):
            parts = [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple, set, frozenset)):
            parts = list(item)
        else:
            if isinstance(item, int) and item.bit_length() > _LARGEST_BITS:
                raise ShapeError(f"it holds a whole number of {item.bit_length()} bits")
            continue
        seen += len(parts)
        if depth == _DEEPEST or seen > _MOST_VALUES:
            raise ShapeError(f"it is nested more than {_DEEPEST} deep, or holds more than {_MOST_VALUES} values")
        todo += [(part, depth + 1) for part in parts]


def is_cache_entry(value: Any) -> bool:
    """Says whether (size, mtime_ns, fields of Facts) are what a CacheFile may hold."""
    try:
        convert(value, _CacheEntry)
    except ShapeError:
        return False
    return True


def scan_entry(value: Any) -> Any:
    """Returns an entry of a scan's journal: (video, size, mtime_ns, depth, facts, reason, location of its packets).

    Raises:
        ShapeError: it is none.
    """
    depth = Annotated[int, Meta(ge=0, lt=len(DEPTHS))]
    shape: Any = tuple[str, _Int64, _Int64, depth, _Facts | None, str, _PacketLocation | None]  # type: ignore[valid-type]
    return _facts_or_reason(convert(value, shape), facts=4, reason=5)


def hash_entry(value: Any) -> Any:
    """Returns an entry of the file of hashes: (place, size, mtime_ns, what is hashed, hashes in hexadecimal).

    Raises:
        ShapeError: it is none.
    """
    digits = Annotated[str, Meta(pattern=r"^([0-9a-f]{16,64})?\Z")]
    shape: Any = tuple[str, _Int64, _Int64, Literal["packets", "frames"], tuple[digits, ...]]  # type: ignore[valid-type]
    return convert(value, shape)


def transcode_entry(value: Any) -> Any:
    """Returns an entry of transcoding's journal: (video, target, its state, that of the target, facts, reason, location).

    Raises:
        ShapeError: it is none.
    """
    shape: Any = tuple[str, str, _State, _State, _Facts | None, str, _PacketLocation | None]
    return _facts_or_reason(convert(value, shape), facts=4, reason=5)


def quarantine_entry(value: Any) -> QuarantineEntry:
    """Returns an entry of quarantine.jsonl.

    Raises:
        ShapeError: it is none.
    """
    entry = convert(value, QuarantineEntry)
    if bool(entry.list and entry.path) == bool(entry.forgotten):
        raise ShapeError("it names no video, and forgets none")
    return entry


def _facts_or_reason(entry: Any, facts: int, reason: int) -> Any:
    if (entry[facts] is None) != bool(entry[reason]):
        raise ShapeError("it has both facts and a reason why there are none, or neither")
    return entry


def encode(value: Any, indent: int | None = None) -> str:
    """Returns JSON that every program reads: figures that are not finite, which JSON has no name for, become null.

    Raises:
        TypeError, ValueError: it is no plain value.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
