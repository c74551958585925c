"""A recipe as text: as a pipe file that can be run, and the fields of it that are worth a line."""

import dataclasses
from typing import Any

from c2d_fast.recipe import Augment, Clip, Labels, PipeFile, Training, shipped_pipes

_WIDTH = 128
_INDENT = 4


def pipe_file_text(pipe: PipeFile, given: str) -> str:
    """Returns the text of a pipe file that has a pipe file's recipe, overrides and all, and its graphs.

    The recipe is written out, but for fields at their defaults. The graphs are imported: of a shipped recipe by its module,
    of a user's file from its absolute path.

    Args:
        pipe: loaded, with its overrides.
        given: how --pipe named it.
    """
    stem, path = pipe.path.stem, pipe.path.resolve()
    is_shipped = path in {shipped.resolve() for shipped in shipped_pipes().values()}
    used = {type(part).__name__ for part in _parts(pipe.recipe)} | (set() if is_shipped else {"load_pipe"})
    names = sorted(used, key=lambda name: (not name[0].isupper(), name))  # as ruff sorts them
    lines = [_docstring(pipe, given), "", f"from c2d_fast.recipe import {', '.join(names)}"]
    if is_shipped:
        lines += [f"from dali_pipes.{stem} import eval_pipe, train_pipe", ""]
    else:  # before the recipe: a file may also say what its recipe needs
        lines += [
            "",
            f"GRAPHS = load_pipe({_string(str(path))})",
            "train_pipe, eval_pipe = GRAPHS.train_pipe, GRAPHS.eval_pipe",
            "",
        ]
    lines += [_assigned("RECIPE", pipe.recipe), "", '__all__ = ["RECIPE", "eval_pipe", "train_pipe"]']
    return "\n".join(lines)


def shown_parts(recipe: dict[str, Any]) -> dict[str, Any]:
    """Returns what is shown of a recipe in plain values: not its name, what is not known, or newer fields at their defaults."""
    shown = {}
    for name, value in recipe.items():
        unset = _UNSET.get(name, {})
        part = (
            {key: item for key, item in value.items() if key not in unset or item != unset[key]}
            if isinstance(value, dict)
            else value
        )
        if name not in ("name", "published") and value not in (None, False) and part != {}:
            shown[name] = part
    return shown


def _newer(part: type, first: str = "") -> dict[str, Any]:
    """Returns the defaults, in plain values, of a part's fields from one on: from when published recipes had none of them."""
    fields = dataclasses.fields(part)
    names = [item.name for item in fields]
    return {
        item.name: list(item.default) if isinstance(item.default, tuple) else item.default
        for item in fields[names.index(first) if first else 0 :]
    }


_UNSET = {"training": _newer(Training, "optimizer"), "clip": _newer(Clip, "sampling"), "augment": _newer(Augment)}
_UNSET["labels"] = _newer(Labels)


def _parts(value: Any) -> list[Any]:
    """Returns a dataclass's value and all that are in fields of it that are written out."""
    return [value, *(inner for item in _written(value).values() if dataclasses.is_dataclass(item) for inner in _parts(item))]


def _written(part: Any) -> dict[str, Any]:
    """Returns the fields that are not at their defaults."""
    written = {}
    for item in dataclasses.fields(part):
        made = item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
        if made is dataclasses.MISSING or getattr(part, item.name) != made:
            written[item.name] = getattr(part, item.name)
    return written


def _assigned(name: str, recipe: Any) -> str:
    fields = [f"{key}={_code(item, 1, len(key) + 2)}," for key, item in _written(recipe).items()]
    return "\n".join([f"{name} = {type(recipe).__name__}(", *(f"{' ' * _INDENT}{field}" for field in fields), ")"])


def _code(value: Any, depth: int, around: int) -> str:
    """Returns a value as Python: on the line that it begins on where it fits, otherwise an item a line.

    Args:
        value: a number, text, tuple or dataclass.
        depth: of the line's indent.
        around: characters beside it on that line.
    """
    if dataclasses.is_dataclass(value):
        items, (begin, end) = [(f"{key}=", item) for key, item in _written(value).items()], (f"{type(value).__name__}(", ")")
    elif isinstance(value, tuple):
        items, (begin, end) = [("", item) for item in value], ("(", ")")
    else:
        return _string(value) if isinstance(value, str) else repr(value)
    flat = ", ".join(key + _code(item, 0, -(10**9)) for key, item in items)
    flat = f"{begin}{flat}{',' if isinstance(value, tuple) and len(items) == 1 else ''}{end}"
    if depth * _INDENT + around + len(flat) <= _WIDTH or not items:
        return flat
    inner = " " * _INDENT * (depth + 1)
    lines = [f"{inner}{key}{_code(item, depth + 1, len(key) + 1)}," for key, item in items]
    return "\n".join([begin, *lines, f"{' ' * _INDENT * depth}{end}"])


def _string(text: str) -> str:
    """Returns a text as Python, in double quotes unless others need fewer backslashes."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    return quote + "".join(f"\\{quote}" if c == quote else _escaped(c) for c in text) + quote


def _escaped(c: str) -> str:
    return c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode()


def _docstring(pipe: PipeFile, given: str) -> str:
    """Returns where a pipe file comes from, and how it is trained."""
    lines = [
        f"{pipe.recipe.name}: the recipe of {pipe.recorded_path}, with",
        "",
        *(f"    {word}" for word in pipe.overrides),
        "",
        f"Printed by `python -m c2d_fast.info --pipe {given}` with these as --set.",
        "",
        "    python -m c2d_fast.train --pipe mine.py --data-root DIR --train-list train.txt --val-list val.txt",
    ]
    text = "\n".join("".join(map(_escaped, line.rstrip())).replace('"""', '\\"\\"\\"') for line in lines)
    # Behind the opening quotes another one would read as a fourth.
    return f'"""{" " if text.startswith(chr(34)) else ""}{text}\n"""'
