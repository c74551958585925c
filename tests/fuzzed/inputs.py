"""Inputs: values of odd shapes, damaged and replaced parts of what is right; and what a reader is here."""

import copy
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from hypothesis import strategies as st

from c2d_fast.formats import checksums
from c2d_fast.recipe import load_pipe
from c2d_fast.video.facts import Facts

FACTS = Facts(12, 12, 12, 160, 96, 160, 96, 25.0, True, "h264", "mov", "yuv420p", False, 1, 1, 1, 0, 0, False, False, 1, 12,
              True, 4, True, True, 1)  # fmt: skip
PLACE = ["0" * 32, 32, 0, 0, 0]
RECIPE = load_pipe(Path(__file__).parents[1] / "tiny_pipe.py").recipe.as_dict()
MODEL = {"fc.bias": torch.zeros(2), "fc.weight": torch.arange(8.0).reshape(2, 4)}

# Values that parsers of JSON, of other languages or by other rules, stumble over.
ODD = [math.inf, -math.inf, math.nan, 2**31, -(2**63), 2**64, 10**400, 1e308, -0.0, "\udcff", "a\nb\x1b[2J", "", [], {}, None]
VALUES = st.recursive(
    st.sampled_from(ODD) | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def deep(depth):
    """Lists within each other: as a text each takes two bytes."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


SHAPES = VALUES | st.sampled_from([deep(100), deep(400), {"a": deep(300)}])
TEXTS = st.sampled_from(
    [b"[" * 100_000, b'{"a":' * 50_000, b"1" * 5000, b"NaN", b"", b"\0" * 64, b"\xff\xfe", b'"' + b"x" * 2**21]
)


@st.composite
def damaged(draw, whole):
    """Bytes of a whole file with some flipped, cut out, cut off or put in; or others altogether."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=64) | TEXTS)
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        how = draw(st.sampled_from(["bit", "byte", "cut", "end", "insert", "again"]))
        if how == "bit" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "byte" and data:
            data[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif how == "end":
            del data[at:]
        elif how == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=16) | st.sampled_from([b"\n", b"\0" * 16, b"}", b"]", b'"']))
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 200))]
    return bytes(data)


def places(value):
    """Yields the paths of all parts of a value: keys that lead there."""
    yield ()
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from ((key, *path) for path in places(child))


@st.composite
def replaced(draw, whole, values=SHAPES):
    """A value some part of which is another one, or missing, or there twice."""
    path = draw(st.sampled_from(list(places(whole))))
    value = copy.deepcopy(whole)
    if not path:
        return draw(values)
    at = value
    for key in path[:-1]:
        at = at[key]
    how = draw(st.integers(0, 5))
    if how == 0:
        del at[path[-1]]
    elif how == 1 and isinstance(at, list):
        at.append(at[path[-1]])
    else:
        at[path[-1]] = draw(values)
    return value


def lines_of(values, *, summed=False):
    texts = [json.dumps(value) for value in values]
    return b"".join((checksums.add_checksum(text) if summed and text[-1] in "]}" else text.encode()) + b"\n" for text in texts)


@st.composite
def damaged_lines(draw, values, summed):
    """Lines of JSON: damaged as bytes, or one of the values replaced, with a checksum that is right then."""
    if draw(st.booleans()):
        return draw(damaged(lines_of(values, summed=summed)))
    at = draw(st.integers(0, len(values) - 1))
    return lines_of([*values[:at], draw(replaced(values[at])), *values[at + 1 :]], summed=summed and draw(st.booleans()))


@dataclass
class Reader:
    """One kind of file, in a folder of its own."""

    folder: Path
    file: ClassVar[str] = "file"
    needs_torch: ClassVar[bool] = False

    def __post_init__(self):
        self.path = self.folder / self.file
        self.prepare()

    def prepare(self):
        """Makes what stands beside the file."""

    def files(self):
        """Returns a strategy of the file's bytes."""
        raise NotImplementedError

    def read(self) -> Any:
        """Reads the file, and goes through what it holds."""
        raise NotImplementedError

    def give(self, data):
        self.path.write_bytes(data)


def one_line(error):
    text = str(error)
    assert text.isprintable(), text[:200]
    assert len(text) < 2000, text[:200]
