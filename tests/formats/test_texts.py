"""Texts and Integers stand for tuples; blocks of an array for the array."""

import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2d_fast.formats import texts as module
from c2d_fast.formats.array_blocks import read_blocks, read_rows, read_texts, read_whole
from c2d_fast.formats.integers import Integers, distinct, narrowed
from c2d_fast.formats.texts import Texts, are_empty, chosen

NAMES = st.binary(max_size=6).map(lambda name: os.fsdecode(name.replace(b"\0", b""))) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4
)
INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(NAMES, max_size=12), st.data())
def test_texts_are_like_the_tuple(names, data):
    made, expected = Texts.of(names), tuple(names)
    assert made == expected
    assert expected == made
    assert made == Texts.of(expected)
    assert hash(made) == hash(expected)
    assert (len(made), tuple(made), list(reversed(made))) == (len(names), expected, names[::-1])
    assert (made == (*expected, "")) is False
    assert (made != expected) is False
    assert [made[i] for i in range(-len(names), len(names))] == names * 2
    first, end, step = (data.draw(st.none() | st.integers(-5, 15)) for _ in range(3))
    assert made[first : end : step or None] == expected[first : end : step or None]
    assert pickle.loads(pickle.dumps(made)) == expected
    assert np.concatenate([np.zeros(0, np.uint8), *made.packed()]).tobytes() == b"".join(os.fsencode(n) + b"\0" for n in names)
    rows = np.array(data.draw(st.lists(st.integers(0, max(len(names) - 1, 0)), max_size=8 if names else 0)), np.int64)
    assert made.take(rows) == tuple(names[row] for row in rows)
    assert tuple(chosen(made, rows)) == tuple(chosen(expected, rows))
    assert are_empty(made).tolist() == are_empty(expected).tolist() == [not name for name in names]
    assert made.lengths.tolist() == [len(os.fsencode(name)) for name in names]
    with pytest.raises(IndexError):
        made[len(names)]


def test_a_nul_parts_nothing_silently():
    with pytest.raises(ValueError, match="2 NUL characters, not 1"):
        Texts.of(["a\0b"])


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_texts_are_gone_through_in_chunks(monkeypatch, chunk):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    names = ("", "a", "", "ü", "bc", "", os.fsdecode(b"\xff"))
    assert tuple(Texts.of(names)) == names
    assert b"".join(part.tobytes() for part in Texts.of(names).packed()).count(b"\0") == len(names)


@settings(max_examples=60, deadline=None)
@given(st.lists(INT64, max_size=12))
def test_integers_are_like_the_tuple(numbers):
    made, expected = Integers(np.array(numbers, np.int64)), tuple(numbers)
    assert made == expected
    assert expected == made
    assert hash(made) == hash(expected)
    assert [type(number) for number in made] == [int] * len(numbers)
    assert (made[1:], made[::-1]) == (expected[1:], expected[::-1])
    assert np.asarray(made).tolist() == numbers
    known, firsts = distinct(made)
    assert known.tolist() == sorted(set(numbers))
    assert [numbers.index(number) for number in known] == firsts.tolist()
    assert distinct(expected)[1].tolist() == firsts.tolist()
    assert narrowed(np.array(numbers, np.int64)).tolist() == numbers


def table(count):
    """Values that need wider types from row to row."""
    made = np.zeros(count, [("a", "<i4"), ("b", "S16"), ("c", "?"), ("d", "<f8"), ("e", "<i4")])
    made["a"], made["d"] = 3 * np.arange(count), np.arange(count) / 3
    made["b"] = [b"x" * (i * 16 // count) for i in range(count)]
    made["e"] = np.where(np.arange(count) > count // 2, -1, 200)
    return made


@pytest.mark.parametrize("count", [1, 1000, 200_000])
def test_blocks_are_the_array(tmp_path, count):
    rows, texts = table(count), b"".join(b"%d\0" % i for i in range(count))
    np.savez_compressed(tmp_path / "a.npz", rows=rows, texts=np.frombuffer(texts, np.uint8))
    seen = []
    narrow = read_rows(
        tmp_path / "a.npz", "rows", count, ("e", "a", "b", "d"), lambda first, block: seen.append((first, block))
    )
    assert all((narrow[name] == rows[name]).all() for name in ("a", "b", "d", "e"))
    assert narrow.dtype.itemsize < rows.dtype.itemsize
    assert sum(len(block) for _, block in seen) == count
    assert all((block == rows[first : first + len(block)]).all() for first, block in seen)
    as_it_is = read_rows(tmp_path / "a.npz", "rows", count, None, lambda first, block: None)
    assert as_it_is.tobytes() == rows.tobytes()
    assert (read_whole(tmp_path / "a.npz", "rows", count, rows.dtype) == rows).all()
    assert read_texts(tmp_path / "a.npz", "texts", len(texts)) == tuple(map(str, range(count)))


def test_a_flipped_bit_is_found_behind_the_last_block(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.arange(10_000))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[2000] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(Exception, match="Bad CRC"):
        list(read_blocks(tmp_path / "a.npz", "a", rows=1000))
