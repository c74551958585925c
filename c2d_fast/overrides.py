"""What --set says: PART.FIELD=VALUE, read by the types of a recipe's dataclasses and put into the recipe."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import math
import re
import types
import typing
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from c2d_fast.errors import UserError

if TYPE_CHECKING:
    from c2d_fast.recipe import Recipe

_NOT_SET = ("published", "expected_top1", "generated_data")
"""What is known of a recipe: no choice of a run."""
_SHOWS = ("model", "clip", "crop")
"""With another network, or other clips of it, what is known of a recipe holds no longer."""
_MOST = 2**63


class _UnfitError(ValueError):
    """A text that is no value of the type wanted; its message says what is."""


class _Set(typing.NamedTuple):
    """One override, as it was given."""

    word: str
    path: tuple[str, ...]
    text: str


def apply(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Returns a recipe with fields set as words say, such as training.lr=0.02, distill=none or crop.scales=1,0.875.

    All words count at once: their order does not matter, and only their result must keep the recipe's rules. With another
    model, clip or crop, `published` and `expected_top1` are dropped: what is known of another model is no reference.

    Args:
        recipe: to begin with; it stays as it is.
        overrides: PART.FIELD=VALUE each; of the recipe itself only name=VALUE.

    Raises:
        UserError: a word is none, or names no field; a value is not of its field's type; a field is set twice; the result
            breaks a rule of the recipe.
    """
    given = [_parse(word) for word in overrides]
    _check_once(given)
    if not given:
        return recipe
    changed: Recipe = _with(recipe, type(recipe), given, 0)
    if any(getattr(changed, part) != getattr(recipe, part) for part in _SHOWS):
        changed = dataclasses.replace(changed, published=None, expected_top1=None)
    return changed


def settable(kind: type, place: str = "") -> list[str]:
    """Returns the names of all fields that may be set, from a dataclass on: name, model.depth, ..., distill.teacher.depth."""
    names = []
    for field in _fields(kind):
        part = _part_of(typing.get_type_hints(kind)[field])
        names += [f"{place}{field}"] if part is None else settable(part, f"{place}{field}.")
    return names


def _parse(word: str) -> _Set:
    name, equals, text = word.partition("=")
    path = tuple(part.strip() for part in name.split("."))
    if not equals or not all(path):
        raise UserError(f"--set {word}: must be PART.FIELD=VALUE, such as training.lr=0.02; give it so")
    return _Set(f"{'.'.join(path)}={text.strip()}", path, text.strip())


def _check_once(given: list[_Set]) -> None:
    for number, one in enumerate(given):
        for other in given[:number]:
            shared = min(len(one.path), len(other.path))
            if one.path[:shared] == other.path[:shared]:
                raise UserError(f"--set {one.word}: --set {other.word} sets the same; leave one of them out")


def _with(value: Any, kind: type, given: list[_Set], depth: int) -> Any:
    """Returns a dataclass's value, or a new one in place of None, with all that is given of it."""
    hints = typing.get_type_hints(kind)
    changes: dict[str, Any] = {}
    for name in dict.fromkeys(one.path[depth] for one in given):
        of_name = [one for one in given if one.path[depth] == name]
        if name not in _fields(kind):
            raise UserError(_unknown(of_name[0], kind, depth))
        before = None if value is None else getattr(value, name)
        part = _part_of(hints[name])
        if part is not None:
            changes[name] = _part(before, part, hints[name], of_name, depth + 1)
        elif len(of_name[0].path) > depth + 1:
            raise UserError(
                f"--set {of_name[0].word}: {'.'.join(of_name[0].path[: depth + 1])} has no fields; set it itself: "
                f"{'.'.join(of_name[0].path[: depth + 1])}=VALUE"
            )
        else:
            changes[name] = _value(of_name[0], hints[name], before)
    missing = [] if value is not None else [name for name in _needed(kind) if name not in changes]
    if missing:
        where = ".".join(given[0].path[:depth])
        more = ", ".join(f"{where}.{name}" for name in missing)
        raise UserError(f"--set {given[0].word}: {where} is none so far; set {more}, too")
    try:
        return kind(**changes) if value is None else dataclasses.replace(value, **changes)
    except ValueError as error:
        raise UserError(f"--set {_named_in(str(error), given, depth)}: {error}") from error


def _part(before: Any, kind: type, hint: Any, given: list[_Set], depth: int) -> Any:
    """Returns a part of a recipe, or of a part: with fields set, or none."""
    first = given[0]
    if len(first.path) > depth:
        return _with(before, kind, given, depth)
    name = ".".join(first.path)
    if type(None) not in typing.get_args(hint):
        raise UserError(f"--set {first.word}: {name} is a part of the recipe; set one of its fields: {_listed(kind, name)}")
    if first.text.lower() != "none":
        raise UserError(f"--set {first.word}: must be none, or set one of its fields: {_listed(kind, name)}")
    return None


def _part_of(hint: Any) -> type | None:
    """Returns the dataclass that a field holds, which may be None."""
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if dataclasses.is_dataclass(kind)]
    return kinds[0] if kinds and isinstance(kinds[0], type) else None


def _fields(kind: type) -> list[str]:
    """Returns the names of the fields that may be set."""
    return [item.name for item in dataclasses.fields(kind) if item.name not in _NOT_SET]


def _needed(kind: type) -> list[str]:
    absent = dataclasses.MISSING
    return [item.name for item in dataclasses.fields(kind) if item.default is absent and item.default_factory is absent]


def _listed(kind: type, name: str) -> str:
    return f"{name}.FIELD=VALUE, of {', '.join(_fields(kind))}"


def _unknown(one: _Set, kind: type, depth: int) -> str:
    """Returns the message for a name that is no field: those that are near, and all that there are."""
    name, known = one.path[depth], _fields(kind)
    close = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    if depth:
        place = ".".join(one.path[:depth])
        meant = f" (did you mean {' or '.join(f'{place}.{it}' for it in close)}?)" if close else ""
        return f"--set {one.word}: {place} has no field {name}{meant}; its fields: {', '.join(known)}"
    parts = {it: part for it, hint in typing.get_type_hints(kind).items() if (part := _part_of(hint)) and it in known}
    close += [f"{it}.{name}" for it, part in parts.items() if name in _fields(part)]
    meant = f" (did you mean {' or '.join(close)}?)" if close else ""
    return f"--set {one.word}: a recipe has no part {name}{meant}; its parts: {', '.join(known)}"


def _named_in(message: str, given: list[_Set], depth: int) -> str:
    """Returns the words that a broken rule may come from: those of the parts or fields that it names, otherwise all."""
    named = [one.word for one in given if re.search(rf"\b{re.escape(one.path[depth])}\b", message)]
    return " --set ".join(named or [one.word for one in given])


def _value(one: _Set, hint: Any, before: Any) -> Any:
    try:
        value = _read(one.text, hint)
        if one.path == ("name",) and (not one.text or "/" in one.text or not one.text.isprintable()):
            raise _UnfitError("the name of a file, without a folder")
    except _UnfitError as error:
        has = "" if before is None else f"; the recipe has {before}"
        raise UserError(f"--set {one.word}: must be {error}{has}") from error
    return value


def _read(text: str, hint: Any) -> Any:
    """Returns a field's value.

    Raises:
        _UnfitError: it is none of the field's type.
    """
    if isinstance(hint, types.UnionType):  # of one type and None
        (kind,) = (item for item in typing.get_args(hint) if item is not type(None))
        try:
            return None if text.lower() == "none" else _read(text, kind)
        except _UnfitError as error:
            raise _UnfitError(f"{error}, or none") from error
    if hint is str:
        return text
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise _UnfitError("true or false")
        return text.lower() == "true"
    if typing.get_origin(hint) is tuple:
        return _read_tuple(text, hint)
    return _number(text, hint)


def _number(text: str, kind: Any) -> int | float:
    whole = re.fullmatch(r"[+-]?[0-9]{1,19}", text)
    if kind is int:
        if not whole or not -_MOST <= int(text) < _MOST:
            raise _UnfitError(_wanted(int))
        return int(text)
    try:
        number = float(text)
    except ValueError:
        raise _UnfitError(_wanted(float)) from None
    if not math.isfinite(number):
        raise _UnfitError(_wanted(float))
    return number


def _read_tuple(text: str, hint: Any) -> tuple[Any, ...]:
    """Reads 40,80 or (40, 80) or () or nothing; tuples of tuples as in Python, one alone also without the outer brackets."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what Python thinks about odd numbers
            found: Any = ast.literal_eval(f"({text.rstrip(',')},)") if text else ()
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise _UnfitError(_wanted(hint)) from None
    inner = found[0] if len(found) == 1 and isinstance(found[0], (tuple, list)) else found
    for candidate in (found, inner, (found,)):
        try:
            fitted: tuple[Any, ...] = _fitted(candidate, hint)
            return fitted
        except _UnfitError:
            continue
    raise _UnfitError(_wanted(hint))


def _fitted(value: Any, hint: Any) -> Any:
    """Returns a value of Python's as one of a field's type: whole numbers are numbers, lists are tuples."""
    if typing.get_origin(hint) is tuple:
        items = typing.get_args(hint)
        if not isinstance(value, (tuple, list)):
            raise _UnfitError(_wanted(hint))
        items = items[:1] * len(value) if items[-1] is Ellipsis else items
        if len(items) != len(value):
            raise _UnfitError(_wanted(hint))
        return tuple(_fitted(item, kind) for item, kind in zip(value, items, strict=True))
    if type(value) is int or (hint is float and type(value) is float):
        return _number(repr(value), hint)
    raise _UnfitError(_wanted(hint))


def _wanted(hint: Any) -> str:
    """Returns what a field takes, in words."""
    if typing.get_origin(hint) is not tuple:
        return "a whole number" if hint is int else "a number"
    items = list(typing.get_args(hint))
    count = "" if Ellipsis in items else f"{len(items)} "
    if typing.get_origin(items[0]) is tuple:
        inner = tuple(range(1, len(typing.get_args(items[0])) + 1))
        return f"tuples of {len(inner)} whole numbers, such as {inner},{inner}"
    examples = ("40", "80", "90", "95") if items[0] is int else ("0.4", "0.8", "1.0", "0.1")
    example = ",".join(examples[: 2 if Ellipsis in items else len(items)])
    return f"{count}{'whole ' if items[0] is int else ''}numbers, such as {example}"
