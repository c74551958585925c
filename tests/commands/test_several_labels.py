"""test, predict and analyze of a model that was trained with several labels a video."""

import csv
import json
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from fork_server import environment
from media import decode_all
from runs import PIPE, one_line, run_ranks
from saved_models import our_checkpoint
from torchmetrics.classification import MultilabelAveragePrecision

from c2d_fast.commands.run_predict import run_predict
from c2d_fast.commands.run_test import run_test
from c2d_fast.commands.thresholds import read_thresholds
from c2d_fast.errors import UserError
from c2d_fast.model.c2d import C2D
from c2d_fast.predict import parse
from c2d_fast.recipe import Labels, load_pipe
from c2d_fast.test import parse as parse_test

CLASSES = ["one thing", "the other"]


def checkpoint_of(kind, path, **more):
    recipe = replace(load_pipe(PIPE).recipe, labels=Labels(kind=kind))
    torch.manual_seed(3)
    return our_checkpoint(C2D(recipe.model), path, recipe, **more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def model(folder):
    """The pipe file is of one label a video: what counts is the checkpoint."""
    return ["--pipe", PIPE, "--checkpoint", checkpoint_of("several", folder / "several.pt", classes=CLASSES)]


@pytest.fixture(scope="module")
def single(folder):
    return ["--pipe", PIPE, "--checkpoint", checkpoint_of("single", folder / "single.pt")]


@pytest.fixture(scope="module")
def tested(model, ten_videos, folder, run_command):
    """What test says, with a dump and thresholds beside the checkpoint."""
    words = ["--list", ten_videos, "--views", "1x1", "--dump", folder / "s.json", "--thresholds", folder / "t.json"]
    done = run_command("test", *model, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines(), json.loads((folder / "s.json").read_text())


@pytest.fixture(scope="module")
def videos(ten_videos):
    return [ten_videos.parent / line.rsplit(maxsplit=1)[0] for line in ten_videos.read_text().splitlines()]


def test_test_says_map(tested, folder, ten_videos):
    said, rows = tested
    assert any(line.endswith(", labels of kind several") for line in said)
    labels = [int(line.split()[-1]) for line in ten_videos.read_text().splitlines()]
    assert [row["label"] for row in rows] == [[label] for label in labels]
    scores = torch.tensor([row["scores"] for row in rows])
    assert not torch.allclose(scores.sum(1), torch.ones(10), atol=1e-3)  # no shares
    expected = 100 * float(MultilabelAveragePrecision(2)(scores, torch.eye(2, dtype=torch.long)[labels]))
    summary = json.loads((folder / "s.json.summary.json").read_text())
    assert summary["result"]["mAP"] == pytest.approx(expected, abs=1e-4)
    assert summary["result"]["labels"] == summary["recipe"]["labels"]["kind"] == "several"
    assert said[-1] == f"validation mAP {summary['result']['mAP']:.1f} %"
    assert said[-2] == f"validation top-1 {summary['result']['top1']:.1f} %"


def test_thresholds_are_of_the_best_f1(tested, folder):
    rows, found = tested[1], json.loads((folder / "t.json").read_text())
    assert list(found) == CLASSES
    for label, entry in enumerate(found.values()):
        scores, has = np.array([row["scores"][label] for row in rows]), np.array([label in row["label"] for row in rows])
        said = [scores >= at for at in (*scores, entry["threshold"])]
        f1 = [2 * (of & has).sum() / (of.sum() + has.sum()) for of in said]
        assert f1[-1] == max(f1) == pytest.approx(entry["f1"])


def test_ranks_score_what_one_does(model, ten_videos, tested, tmp_path):
    words = [*model, "--list", ten_videos, "--views", "1x1", "--dump", tmp_path / "s.json", "--thresholds", tmp_path / "t.json"]
    command = [sys.executable, "-m", "c2d_fast.test", *map(str, words)]
    done = run_ranks(command, 2, environment(), timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads((tmp_path / "s.json").read_text())
    assert [(row["path"], row["label"]) for row in rows] == [(row["path"], row["label"]) for row in tested[1]]
    np.testing.assert_allclose([row["scores"] for row in rows], [row["scores"] for row in tested[1]], atol=1e-5)
    assert done.stdout.splitlines()[-1] == tested[0][-1]


def test_shares_are_dumped_with_weights(ten_videos, tmp_path, run_command):
    words = ["--pipe", PIPE, "--checkpoint", checkpoint_of("soft", tmp_path / "soft.pt"), "--list", ten_videos]
    done = run_command("test", *words, "--views", "1x1", "--dump", tmp_path / "s.pkl")
    assert (done.returncode, done.stderr) == (0, "")
    rows = pickle.loads((tmp_path / "s.pkl").read_bytes())
    assert [(row["label"], row["weights"]) for row in rows] == [([place % 2], [1.0]) for place in range(10)]
    assert [sum(row["scores"]) for row in rows] == pytest.approx([1] * 10, abs=1e-5)
    result = json.loads((tmp_path / "s.pkl.summary.json").read_text())["result"]
    assert done.stdout.splitlines()[-1].startswith(f"validation top-1 {result['top1']:.1f} % (chance 50.0 %)")
    assert "mAP" not in result


def predicted(*words):
    run_predict(parse(list(map(str, words))))


@pytest.mark.parametrize("threshold", [0, None, 0.45, 1])
def test_predict_names_all_that_reach_the_threshold(model, videos, tested, run_command, threshold):
    scores = {row["path"]: row["scores"] for row in tested[1]}
    flags = [] if threshold is None else ["--threshold", threshold]
    done = run_command("predict", videos[0], videos[3], *model, "--json", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    least = 0.5 if threshold is None else threshold
    for video, path in zip(json.loads(done.stdout), (videos[0], videos[3]), strict=True):
        expected = scores[str(path.relative_to(path.parents[1]))]
        named = [label for label in np.argsort(expected)[::-1].tolist() if expected[label] >= least]
        assert [one["label"] for one in video["predictions"]] == named
        assert [one["class"] for one in video["predictions"]] == [CLASSES[label] for label in named]
        assert [one["probability"] for one in video["predictions"]] == pytest.approx([expected[at] for at in named], abs=1e-5)
        assert {one["threshold"] for one in video["predictions"]} <= {least}


def test_predict_by_the_thresholds_that_test_wrote(model, videos, tested, folder, tmp_path, run_command, capsys):
    thresholds = [entry["threshold"] for entry in json.loads((folder / "t.json").read_text()).values()]
    predicted(*videos, *model, "--thresholds", folder / "t.json", "--json")
    found = json.loads(capsys.readouterr().out.partition("\n[")[2].join(["[", ""]))
    named = [{one["label"] for one in video["predictions"]} for video in found]
    assert named == [{k for k in (0, 1) if row["scores"][k] >= thresholds[k]} for row in tested[1]]
    (tmp_path / "n.json").write_text(json.dumps({"1": 0, "one_thing": 1}))
    done = run_command("predict", videos[0], *model, "--thresholds", tmp_path / "n.json", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    path, only = done.stdout.splitlines()
    assert (path, only.split(" %  ")[1]) == (str(videos[0]), "the other")


def test_where_no_class_reaches_it(model, videos, tmp_path, run_command):
    done = run_command("predict", videos[0], *model, "--threshold", 1, "--quiet", "--overlay", tmp_path / "x.mp4")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.strip() for line in done.stdout.splitlines()] == [str(videos[0]), "no class reaches its threshold"]
    assert len(decode_all(tmp_path / "x.mp4")) == len(decode_all(videos[0]))


def test_top_limits_them(model, videos, capsys):
    predicted(videos[0], *model, "--threshold", 0, "--top", 1)
    assert sum(" %  " in line for line in capsys.readouterr().out.splitlines()) == 1


def test_analyze_has_average_precision_in_place_of_a_confusion(tested, folder, tmp_path, run_command):
    done = run_command("analyze", folder / "s.json", "--out", tmp_path / "a")
    assert (done.returncode, done.stderr) == (0, "")
    assert "s: labels of kind several: average precision by class in place of a confusion matrix" in done.stdout
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "classes-s.png", *(f"{kind}.{suffix}" for kind in ("classes-s", "hardest-s", "results") for suffix in ("md", "csv")),
    }  # fmt: skip
    said = json.loads((folder / "s.json.summary.json").read_text())["result"]
    (row,) = csv.DictReader((tmp_path / "a" / "results.csv").open())
    for column, name in (("top-1, %", "top1"), ("mean class accuracy, %", "mean_class_accuracy"), ("mAP, %", "mAP")):
        assert float(row[column]) == pytest.approx(said[name], abs=1e-4)
    classes = list(csv.DictReader((tmp_path / "a" / "classes-s.csv").open()))
    assert np.mean([float(row["average precision, %"]) for row in classes]) == pytest.approx(said["mAP"], abs=1e-4)
    best = json.loads((folder / "t.json").read_text())
    for row in classes:
        assert float(row["best F1, %"]) == pytest.approx(100 * best[row["class"]]["f1"])
        assert float(row["threshold"]) == pytest.approx(best[row["class"]]["threshold"], abs=1e-6)


def test_analyze_takes_results_of_all_kinds_together(tested, folder, tmp_path, run_command):
    rows = [{"path": f"{n}.mp4", "label": n % 3, "scores": np.eye(3)[n % 2].tolist()} for n in range(6)]
    rows[5]["label"] = None
    (tmp_path / "one.json").write_text(json.dumps(rows))
    shares = [{"path": "a", "label": [0, 2], "weights": [0.5, 0.5], "scores": [0.25, 0.25, 0.5]}]
    (tmp_path / "shares.json").write_text(json.dumps([*shares, shares[0] | {"label": [], "weights": []}]))
    done = run_command("analyze", tmp_path / "one.json", folder / "s.json", tmp_path / "shares.json", "--out", tmp_path / "a")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"note: 1 of 6 videos of {tmp_path / 'one.json'} have no label, and are left out" in done.stdout
    table = list(csv.DictReader((tmp_path / "a" / "results.csv").open()))
    assert [(row["videos"], bool(row["mAP, %"])) for row in table] == [("5", False), ("10", True), ("1", True)]
    assert float(table[0]["top-1, %"]) == 40  # videos 0 and 1 of 0 to 4
    assert (tmp_path / "a" / "confusion-one.png").exists()
    assert not (tmp_path / "a" / "confusion-shares.png").exists()
    (columns, *_) = csv.reader((tmp_path / "a" / "classes-shares.csv").open())
    assert columns == ["label", "class", "videos", "average precision, %"]


def test_a_list_without_any_positive(tmp_path, run_command):
    rows = [{"path": "a", "label": [], "scores": [0.5, 0.1]}]
    (tmp_path / "s.json").write_text(json.dumps(rows))
    done = run_command("analyze", tmp_path / "s.json", "--out", tmp_path / "a")
    assert (done.returncode, done.stderr) == (0, "")


def test_thresholds_that_do_not_fit(tmp_path):
    path = tmp_path / "t.json"
    for content, part in (
        ("[", "cannot be read as thresholds"),
        ("[1]", "cannot be read as thresholds"),
        ({"one thing": 0.5, "third": 0.5}, "class 'third' is unknown to the model, which has 2 classes, such as 'one thing'"),
        ({"one thing": 0.5, "2": 0.5}, "class '2' is unknown"),
        ({"one thing": 0.5}, "lacks 1 of 2 classes, first 'the other'"),
        ({}, "lacks 2 of 2 classes"),
        ({"one thing": 0.5, "0": 0.5, "1": 0.5}, "class '0' is named twice"),
        ({"one thing": 1.5, "1": 0.5}, "class 'one thing': 1.5 is no number of 0 to 1"),
        ({"one thing": -0.1, "1": 0.5}, "is no number of 0 to 1"),
        ({"one thing": True, "1": 0.5}, "True is no number of 0 to 1"),
        ({"one thing": {"f1": 1}, "1": 0.5}, "None is no number of 0 to 1"),
        ('{"one thing": NaN, "1": 0.5}', "nan is no number of 0 to 1"),
    ):
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        with pytest.raises(UserError, match="--thresholds ") as refused:
            read_thresholds(path, CLASSES)
        assert part in str(refused.value)
    path.write_text(json.dumps({"one thing": 0, "1": {"threshold": 1, "f1": None}}))
    assert read_thresholds(path, CLASSES) == [0, 1]
    with pytest.raises(UserError, match="cannot be read"):
        read_thresholds(tmp_path / "none.json", CLASSES)


def test_wrong_arguments(model, single, videos, ten_videos, folder, tmp_path, run_command):
    hostile = checkpoint_of("several", tmp_path / "x.pt")
    content = torch.load(hostile, weights_only=True)
    content["recipe"]["labels"] = {"kind": "many"}
    from c2d_fast.model import checkpoint

    checkpoint.save({key: value for key, value in content.items() if key != "format"}, hostile)
    for words, part in (
        ([videos[0], *single, "--threshold", 0.5], "--threshold 0.5: is for models of several labels a video, and this one's"),
        ([videos[0], *single, "--thresholds", folder / "t.json"], "t.json: is for models of several labels a video"),
        ([videos[0], *model, "--threshold", 0.5, "--thresholds", folder / "t.json"], "give one of both"),
        ([videos[0], *model, "--threshold", 1.5], "argument --threshold: 1.5 must be 0 to 1"),
        ([videos[0], *model, "--threshold", "nan"], "argument --threshold: nan must be 0 to 1"),
        ([videos[0], *model, "--threshold", "x"], "argument --threshold: 'x' is no number"),
        ([videos[0], "--pipe", PIPE, "--checkpoint", hostile], "its recipe names no kind of labels that there is"),
    ):
        with pytest.raises(UserError) as refused:
            predicted(*words)
        assert part in str(refused.value)
    for words, part in (
        ([*single, "--thresholds", tmp_path / "t.json"], "is for models of several labels a video, and this one's"),
        ([*model, "--thresholds", tmp_path / "none" / "t.json"], "its folder does not exist"),
        ([*model, "--thresholds", ten_videos], "which is only read; give another file"),
        ([*model, "--dump", tmp_path / "s.json", "--thresholds", tmp_path / "s.json"], "is what --dump writes"),
    ):
        with pytest.raises(UserError) as refused:
            run_test(parse_test(list(map(str, [*words, "--list", ten_videos]))))
        assert part in str(refused.value)
    one_line(run_command("predict", videos[0], *single, "--threshold", 0.5), 2, "leave it out")
