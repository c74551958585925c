"""Up to 500 classes a confusion is a matrix; of more only the pairs that occur are held, and the worst are shown."""

import csv
import json
import pickle
import subprocess
import sys
import warnings
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from c2d_fast.commands.run_test import _dump
from c2d_fast.reporting import charts, dump_file
from c2d_fast.reporting.confusion import Confusion, as_confusion, confusion_counts, count_pairs
from c2d_fast.reporting.scores import Scores

ROOT = Path(__file__).parents[2]
MOST_MB = 300


def drawn(num_classes, videos=300, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, videos)
    return labels, (labels + rng.integers(0, 3, videos)) % num_classes


@pytest.mark.parametrize("num_classes", [1, 2, 7, 41])
def test_pairs_say_what_a_matrix_says(num_classes):
    labels, guesses = drawn(num_classes)
    matrix = confusion_counts(labels, guesses, num_classes)
    for pairs in (count_pairs(labels, guesses, num_classes), as_confusion(matrix)):
        assert (pairs.videos == matrix.sum(1)).all()
        assert (pairs.correct == matrix.diagonal()).all()
        np.testing.assert_array_equal(pairs.accuracy, matrix.diagonal() / matrix.sum(1))
        others = matrix - np.diag(matrix.diagonal())
        guess, times = pairs.most_confused_with()
        assert (times == others.max(1)).all()
        assert (guess[times > 0] == others.argmax(1)[times > 0]).all()
        shown = pairs.most_confused_classes(5)
        assert len(set(shown.tolist())) == len(shown) == min(5, num_classes)
        block = pairs.submatrix(shown)
        assert (block[:, :-1] == matrix[shown][:, shown]).all()
        assert (block.sum(1) == matrix[shown].sum(1)).all()
        wrong = pairs.off_diagonal
        assert wrong.counts.sum() == others.sum()
        assert (np.diff(wrong.counts) <= 0).all()
    if num_classes > 2:
        assert others[wrong.labels[0], wrong.guesses[0]] == others.max()
        assert {wrong.labels[0], wrong.guesses[0]} <= set(shown.tolist())


def test_above_500_classes_no_matrix_is_made():
    assert confusion_counts(*drawn(500), 500).shape == (500, 500)
    for num_classes in (501, 20_000, 10**6):
        assert isinstance(confusion_counts(*drawn(num_classes), num_classes), Confusion)


@pytest.mark.parametrize("num_classes", [500, 501, 5000])
@pytest.mark.parametrize("videos", [0, 1, 3000])
def test_figures_of_many_classes(num_classes, videos):
    names = [["$x_{1$", "\x1b[0m", "a very long name " * 20, ""][label % 4] for label in range(num_classes)]
    labels, guesses = drawn(num_classes, videos)
    with warnings.catch_warnings(action="error"):
        for answers in (guesses, labels):  # the latter without a mix-up
            counts = confusion_counts(labels, answers, num_classes)
            for draw in (charts.confusion_figure, charts.class_accuracy_figure):
                width, height = Image.open(BytesIO(charts.encode_png(draw(counts, names)))).size
                assert 300 < width < 1400
                assert 80 < height < 1400


def test_the_worst_confused_are_named_in_picture_and_table():
    labels = np.repeat([17, 600, 3], [9, 5, 2])
    figure = charts.confusion_figure(
        confusion_counts(labels, np.repeat([700, 17, 3], [9, 5, 2]), 900), [f"c{n}" for n in range(900)]
    )
    ticks = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert ticks[:3] == ["c17 (9)", "c700 (0)", "c600 (5)"]
    said = [text.get_text() for text in figure.texts]
    assert said[said.index("9 of 9") :] == ["9 of 9", "c17", "c700", "5 of 5", "c600", "c17"]
    assert "the 40 classes that are mixed up most" in said[0]


MEASURED = """
import contextlib, io, json, pickle, resource, sys, tempfile, time
from pathlib import Path
import numpy as np
import torch
from c2d_fast.reporting import charts
from c2d_fast.analyze import parse
from c2d_fast.reporting.scores import Scores
from c2d_fast.reporting.picture_schedule import PictureSchedule
from c2d_fast.reporting.records import Records
from c2d_fast.commands.run_analyze import run_analyze

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

folder, most = Path(tempfile.mkdtemp(dir=sys.argv[1])), {}
charts.warm_up()
for num_classes in map(int, sys.argv[2:]):
    labels = torch.randint(num_classes, (100,))
    scores = torch.rand(100, num_classes) / num_classes
    before = peak()
    of_run = Scores(scores, torch.arange(100) != 3, labels)
    pictures = PictureSchedule(epochs=1, every=1, classes=[str(label) for label in range(num_classes)])
    run = folder / f"run{num_classes}"
    run.mkdir()
    records = Records(run, first_step=0, total_steps=1, epochs=1, pictures=pictures)
    records.start()
    records.begin_epoch(1)
    records.score_figures(1, of_run)
    of_run.mean_class_accuracy()
    records.close()
    rows = [{"path": "v", "label": int(label), "scores": row.tolist()} for label, row in zip(labels, scores)]
    dump = folder / f"s{num_classes}.pkl"
    dump.write_bytes(pickle.dumps(rows))
    del rows
    with contextlib.redirect_stdout(io.StringIO()):
        run_analyze(parse([str(dump), "--out", str(folder / f"out{num_classes}")]))
    most[num_classes] = peak() - before
print(json.dumps([str(folder), most]))
"""


def test_memory_does_not_grow_with_the_square_of_the_classes(tmp_path):
    words = [sys.executable, "-c", MEASURED, tmp_path, "500", "501", "20000"]
    done = subprocess.run(list(map(str, words)), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    folder, most = json.loads(done.stdout.splitlines()[-1])
    assert max(most.values()) < MOST_MB, most
    assert "can no longer be drawn" not in done.stdout
    names = {path.name for path in (Path(folder) / "out20000").iterdir()}
    assert {"confusion-s20000.png", "confusion-s20000.csv", "classes-s20000.csv", "classes-s20000.png"} <= names
    assert "confusion-s500.csv" not in {path.name for path in (Path(folder) / "out500").iterdir()}
    rows = list(csv.DictReader((Path(folder) / "out20000" / "confusion-s20000.csv").open()))
    assert len(rows) <= 100
    assert all(row["label"] != row["guess"] for row in rows)


def test_a_dump_written_row_by_row_is_the_list_that_it_was(tmp_path):
    scores = Scores(
        torch.rand(5, 1200).softmax(1), torch.tensor([True, True, False, True, True]), torch.tensor([3, 0, 0, 9, 3])
    )
    listing = SimpleNamespace(videos=["a.mp4", "ü\udc80.mp4", "broken", "=1.mp4", "a.mp4"], labels=(3, 0, 0, 9, 3))
    manifest = SimpleNamespace(kept=np.arange(5), listing=listing)
    wanted = [
        {"path": listing.videos[n], "label": listing.labels[n], "scores": scores.scores[n].tolist()} for n in (0, 1, 3, 4)
    ]
    for name, read in (("x.pkl", pickle.loads), ("x.json", json.loads)):
        _dump(tmp_path / name, scores, manifest, {"result": {"views": "1x1"}})
        assert read((tmp_path / name).read_bytes()) == wanted
        result = dump_file.read_dump(tmp_path / name)
        assert (result.scores == scores.scores[scores.scored].double().numpy()).all()
        assert (list(result.videos), result.labels.tolist()) == ([row["path"] for row in wanted], [3, 0, 9, 3])
        assert result.summary == {"result": {"views": "1x1"}}


@pytest.mark.parametrize("kind", ["several", "soft"])
def test_a_dump_of_several_labels_is_read_as_it_was_scored(kind, tmp_path):
    targets = torch.tensor([[0, 0.25, 0.75], [0, 0, 1], [0, 0, 0], [1, 0, 0]])
    targets = targets if kind == "soft" else (targets > 0).float()
    labels = torch.tensor([1, 2, 0, -1])
    scores = Scores(torch.rand(4, 3), torch.tensor([True, False, True, True]), labels, targets=targets, kind=kind, ignores=True)
    manifest = SimpleNamespace(kept=np.arange(4), listing=SimpleNamespace(videos=["a", "broken", "c", "d"]))
    for name in ("x.pkl", "x.json"):
        _dump(tmp_path / name, scores, manifest, {})
        rows = pickle.loads((tmp_path / name).read_bytes()) if name == "x.pkl" else json.loads((tmp_path / name).read_text())
        assert [row["label"] for row in rows] == [[1, 2], [] if kind == "several" else None, None]
        assert [row.get("weights") for row in rows] == [[0.25, 0.75] if kind == "soft" else None, None, None]
        result = dump_file.read_dump(tmp_path / name)
        assert (result.kind, list(result.videos)) == (kind, ["a", "c", "d"])
        assert (result.targets[:2] == targets[[0, 2]].numpy()).all()
        assert result.counted.tolist() == scores.counted[[0, 2, 3]].tolist()


def test_runs_of_floats_are_read_as_they_stand(tmp_path):
    """Also where ints stand between floats, lists are shared, and rows are of any protocol."""
    odd = [1, *np.linspace(0, 1, 40).tolist(), 2, 0.5, 3, *[0.25] * 9]
    for protocol in range(1, 6):
        rows = [{"path": "a", "label": 1, "scores": odd}, {"path": "b", "label": 0, "scores": odd}]
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(rows, protocol))
        result = dump_file.read_dump(tmp_path / "x.pkl")
        assert result.scores.tolist() == [list(map(float, odd))] * 2
