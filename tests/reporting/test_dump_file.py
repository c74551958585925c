"""What `test --dump` writes, and what claims to be that: read, or refused in one line; nothing in it runs."""

import os
import pickle

import numpy as np
import pytest
from dumps import random_rows, rows_of, write_rows

from c2d_fast.errors import UserError
from c2d_fast.reporting import dump_file


def test_ranks_agree_with_guesses_where_scores_are_equal(tmp_path):
    scores = np.array([[0.25, 0.25, 0.25, 0.25], [0.1, 0.4, 0.4, 0.1], [0, 0, 0, 1]])
    result = dump_file.read_dump(write_rows(tmp_path / "x.pkl", rows_of(scores, [0, 2, 3])))
    assert result.ranks().tolist() == [0, 1, 0]
    assert ((result.ranks() < 1) == (result.guesses() == result.labels)).all()


def test_logits_become_probabilities(tmp_path):
    result = dump_file.read_dump(write_rows(tmp_path / "x.json", rows_of(np.array([[-1000.0, 1000.0]]), [0])))
    assert result.probabilities().tolist() == [[0.0, 1.0]]


class _Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_pickle_runs(tmp_path):
    for number, content in enumerate(
        [_Runs(tmp_path / "ran"), [{"path": "a", "label": 0, "scores": [_Runs(tmp_path / "ran")]}]]
    ):
        for protocol in range(6):
            path = tmp_path / f"{number}-{protocol}.pkl"
            path.write_bytes(pickle.dumps(content, protocol))
            with pytest.raises(UserError, match="cannot be read as scores"):
                dump_file.read_dump(path)
    assert not (tmp_path / "ran").exists()


def test_every_damaged_pickle_is_a_user_error(tmp_path):
    whole, rng = pickle.dumps(random_rows(3, 4)), np.random.default_rng(0)
    damaged = [whole[:length] for length in range(len(whole))]
    for _ in range(500):
        data = bytearray(whole)
        data[rng.integers(len(data))] = rng.integers(256)
        damaged.append(bytes(data))
    path, refused = tmp_path / "x.pkl", 0
    for data in damaged:
        path.write_bytes(data)
        try:
            dump_file.read_dump(path)
        except UserError:
            refused += 1
    assert refused > len(whole)


def bomb(rows, of_each):
    """A pickle in which so many rows share one list of so many scores."""
    scores = b"]q\x00(" + b"K\x00" * of_each + b"e"
    row = b"}q\x01(X\x04\0\0\0path" + b"X\x01\0\0\0a" + b"X\x05\0\0\0labelK\x00X\x06\0\0\0scoresh\x00u"
    return b"\x80\x02" + scores + b"](" + row + b"h\x01" * rows + b"e."


def test_absurd_sizes_are_refused_before_they_take_memory(tmp_path):
    path = tmp_path / "x.pkl"
    for data, part in (
        (b"\x80\x02]r\xff\xff\xff\x7f.", "a memo that leaves places out"),
        (b"\x80\x04\x8d" + (1 << 60).to_bytes(8, "little") + b"x.", "cannot be read as scores"),
        (b"\x80\x04\x96" + (1 << 60).to_bytes(8, "little") + b"x.", "BYTEARRAY8"),
        (b"\x80\x04\x95" + (1 << 60).to_bytes(8, "little") + b"].", "cannot be read as scores"),
        (b"\x80\x02" + b")" + b"\x85" * 300_000 + b".", "EMPTY_TUPLE"),
        (b"\x80\x02" + b"](" * 300_000 + b"e" * 300_000 + b".", "row 1 of 1"),
        (bomb(100_000, 3000), "claims 100001 rows of 3000 classes"),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match=part):
            dump_file.read_dump(path)


@pytest.mark.parametrize("suffix", [".pkl", ".json"])
def test_the_structure_is_checked(suffix, tmp_path):
    row = {"path": "a.mp4", "label": 0, "scores": [0.5, 0.5]}
    for rows, part in (
        ({}, "holds dict"),
        ([], "holds an empty list"),
        ([3], "row 1 of 1: is no"),
        ([row, {"path": "b", "label": 1}], "row 2 of 2: is no"),
        ([row | {"path": 3}], "path and label are int and int"),
        ([row | {"label": True}], "path and label are str and bool"),
        ([row | {"label": 1.0}], "path and label are str and float"),
        ([row | {"label": 2}], "label 2 is not between 0 and 1"),
        ([row | {"label": -1}], "label -1 is not between 0 and 1"),
        ([row | {"label": 10**400}], "label 10000000000000000000 is not between"),
        ([row, row | {"scores": [1.0]}], "as many as in the first row"),
        ([row | {"scores": []}], "no list of numbers"),
        ([row | {"scores": ["1", "0"]}], "no list of numbers"),
        ([row | {"scores": "no"}], "no list of numbers"),
        ([row, row | {"scores": [0.5, float("nan")]}], "row 2 of 2: a score is not finite"),
        ([row | {"scores": [0.5, 10**400]}], "larger than any float"),
    ):
        with pytest.raises(UserError, match=part):
            dump_file.read_dump(write_rows(tmp_path / f"x{suffix}", rows))


def test_damaged_json(tmp_path):
    path = tmp_path / "x.json"
    for text in ("", "[", "\x00", "[" * 100_000, '[{"path": "a"'):
        path.write_text(text)
        with pytest.raises(UserError, match="cannot be read as scores"):
            dump_file.read_dump(path)


def rows_of_several(kind):
    weights = [[0.25, 0.75], [1.0], [], None]
    rows = [
        {"path": f"v{place}.mp4", "label": label, "scores": scores}
        for place, (label, scores) in enumerate(
            zip([[2, 0], [1], [], None], [[0.5, 0.1, 0.9], [0.3, 0.2, 0.3], [0.9, 0.9, 0.9], [0.1, 0.2, 0.3]], strict=True)
        )
    ]
    return [
        row | {"weights": some} if kind == "soft" and some is not None else row for row, some in zip(rows, weights, strict=True)
    ]


@pytest.mark.parametrize("suffix", [".pkl", ".json"])
@pytest.mark.parametrize("kind", ["several", "soft"])
def test_rows_of_several_labels(kind, suffix, tmp_path):
    result = dump_file.read_dump(write_rows(tmp_path / f"x{suffix}", rows_of_several(kind)))
    assert result.kind == kind
    assert result.labels.tolist() == [2, 1, -1, -1]
    first = [0.75, 0, 0.25] if kind == "soft" else [1, 0, 1]
    assert result.targets.tolist() == [first, [0, 1, 0], [0, 0, 0], [0, 0, 0]]
    # A video without any class is an answer where there may be several, and none where there are shares.
    assert result.counted.tolist() == [True, True, kind == "several", False]
    assert result.ranks().tolist() == [0, 2, 3, 3]
    counted = result.of_counted()
    assert (counted.counted, list(counted.videos)) == (None, ["v0.mp4", "v1.mp4", "v2.mp4"][: 3 if kind == "several" else 2])
    assert counted.scores.tolist() == result.scores[: len(counted.videos)].tolist()
    assert counted.targets.tolist() == result.targets[: len(counted.videos)].tolist()


def test_scores_of_several_labels_are_no_shares(tmp_path):
    rows = [{"path": "a", "label": [0], "scores": [0.9, 0.8]}]
    assert dump_file.read_dump(write_rows(tmp_path / "x.json", rows)).probabilities().tolist() == [[0.9, 0.8]]
    rows = [{"path": "a", "label": [0], "scores": [0.0, 1000.0, -1000.0]}]
    found = dump_file.read_dump(write_rows(tmp_path / "x.json", rows)).probabilities()
    assert found.round(6).tolist() == [[0.5, 1, 0]]


def test_a_single_label_may_be_unknown(tmp_path):
    rows = random_rows(3, 4)
    rows[1]["label"] = None
    result = dump_file.read_dump(write_rows(tmp_path / "x.pkl", rows))
    assert (result.kind, result.labels.tolist()) == ("single", [rows[0]["label"], -1, rows[2]["label"]])
    assert result.ranks()[1] == 4
    assert list(result.of_counted().videos) == ["v0.mp4", "v2.mp4"]
    nothing = [row | {"label": None} for row in rows]
    with pytest.raises(UserError, match="none of its 3 videos has a label"):
        dump_file.read_dump(write_rows(tmp_path / "x.pkl", nothing)).of_counted()


@pytest.mark.parametrize("suffix", [".pkl", ".json"])
def test_the_structure_of_several_labels_is_checked(suffix, tmp_path):
    row = {"path": "a.mp4", "label": [0], "scores": [0.5, 0.5]}
    for rows, part in (
        ([row | {"label": [2]}], "label 2 is not between 0 and 1"),
        ([row | {"label": [-1]}], "label -1 is not between 0 and 1"),
        ([row | {"label": [True]}], "label is no list of whole numbers"),
        ([row | {"label": ["0"]}], "label is no list of whole numbers"),
        ([row | {"label": [0, 0]}], "label names a class twice"),
        ([row | {"label": [0, 1, 0]}], "label is no list of whole numbers, 2 at most"),
        ([row | {"label": "0"}], "path and label are str and str"),
        ([row | {"weights": [0.5, 0.5]}], r"weights is no list of numbers, as many as labels \(1\)"),
        ([row | {"weights": 1}], "weights is no list of numbers"),
        ([row | {"weights": ["1"]}], "weights are not all above 0"),
        ([row | {"weights": [0]}], "weights are not all above 0"),
        ([row | {"weights": [float("nan")]}], "weights are not all above 0"),
        ([row | {"weights": [1e300]}], "weights are not all above 0"),
        ([row, row | {"label": 0}], "has labels of several forms"),
        ([row, row | {"weights": [1]}], "has labels of several forms"),
    ):
        with pytest.raises(UserError, match=part):
            dump_file.read_dump(write_rows(tmp_path / f"x{suffix}", rows))


def test_many_shares_are_read_as_they_stand(tmp_path):
    """In a pickle so many floats in a row are no list of Python's, as scores are not."""
    weights = np.random.default_rng(0).dirichlet(np.ones(40)).tolist()
    rows = [{"path": "a", "label": list(range(40)), "weights": weights, "scores": weights}] * 2
    result = dump_file.read_dump(write_rows(tmp_path / "x.pkl", rows))
    assert (result.targets == np.float32(weights)).all()
    assert result.targets.shape == (2, 40)


@pytest.mark.parametrize("suffix", [".pkl", ".json"])
def test_scores_are_read_in_half_the_memory(suffix, tmp_path):
    rows = random_rows(30, 20)
    path = write_rows(tmp_path / f"x{suffix}", rows)
    found = dump_file.read_dump(path, np.dtype(np.float32))
    assert found.scores.dtype == found.probabilities().dtype == np.float32
    assert (found.scores == np.float32([row["scores"] for row in rows])).all()
    with pytest.raises(UserError, match="a score is not finite"):
        dump_file.read_dump(write_rows(path, [rows[0] | {"scores": [1e300] * 20}]), np.dtype(np.float32))
