"""Whole commands with a recipe that has about every ingredient: interrupted, on one rank and on two, with either teacher."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from media import make_dataset
from runs import PIPE, batches, flags, last, metrics, one_line, run, same_weights, train

from c2d_fast.commands.run_train import run_train
from c2d_fast.errors import UserError
from c2d_fast.model import checkpoint
from c2d_fast.train import parse

RICH = Path(__file__).parents[1] / "rich_pipe.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), count=8, num_frames=(20, 31), sizes=((160, 96), (96, 160)))


@pytest.fixture(scope="module")
def teachers(data, tmp_path_factory):
    """A checkpoint, and made-up scores of the same videos as test --dump writes them."""
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        assert train(*flags(data, folder / "run", epochs=1), monkeypatch=patch) == 0
    scores = torch.rand(8, 2, generator=torch.Generator().manual_seed(0)).softmax(1).tolist()
    lines = [line.rsplit(" ", 1) for line in Path(data).read_text().splitlines()]
    rows = [{"path": path, "label": int(label), "scores": row} for (path, label), row in zip(lines, scores, strict=True)]
    (folder / "scores.json").write_text(json.dumps(rows[::-1]))
    return {"checkpoint": folder / "run" / "best.pt", "scores": folder / "scores.json"}


def rich(data, out, teacher, *more):
    return [str(RICH) if word == str(PIPE) else word for word in flags(data, out, "--teacher", teacher, *more)]


def same(one, other):
    averaged = one["averaged"]["model"].items()
    assert all(torch.equal(value, other["averaged"]["model"][key]) for key, value in averaged)
    assert one["averaged"]["steps"] == other["averaged"]["steps"]
    assert not torch.equal(one["averaged"]["model"]["fc.weight"], one["model"]["fc.weight"])
    return same_weights(one, other)


@pytest.mark.parametrize("kind", ["checkpoint", "scores"])
def test_interrupted_it_ends_as_if_it_had_not_been(data, teachers, kind, tmp_path, monkeypatch):
    words = rich(data, tmp_path / "whole", teachers[kind])
    assert train(*words, monkeypatch=monkeypatch) == 0
    words = [*rich(data, tmp_path / "run", teachers[kind]), "--resume", "auto"]
    for steps in (1, 4):
        assert train(*words, stop_after=steps, monkeypatch=monkeypatch) == 143
    assert train(*words, monkeypatch=monkeypatch) == 0
    whole, later = tmp_path / "whole", tmp_path / "run"
    assert same(last(later), last(whole))
    assert same(last(later, "best.pt"), last(whole, "best.pt"))
    assert batches(later) == batches(whole)
    assert len(batches(later)) == 8
    assert metrics(later) == metrics(whole)
    rates = [line["lr"] for line in metrics(whole) if line["kind"] == "train"]
    assert rates[0] > rates[-1] > 0
    teacher = hashlib.sha256(teachers[kind].read_bytes()).hexdigest()
    assert last(whole)["used"]["teacher"] == teacher


def test_on_two_ranks_it_goes_on_to_the_bit(data, teachers, tmp_path):
    words = rich(data, tmp_path / "whole", teachers["scores"], "--checkpoint-steps", 1, "--keep", 99)
    done = run(*words, ranks=2)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    words = rich(data, tmp_path / "run", teachers["scores"])
    done = run(*words, "--resume", tmp_path / "whole" / "step-00000003.pt", ranks=2)
    assert done.returncode == 0, done.stderr
    one, other = last(tmp_path / "run"), last(tmp_path / "whole")
    assert same(one | {"progress": 0}, other | {"progress": 0})
    assert len(one["averaged"]["statistics"]) == 2
    assert torch.equal(one["averaged"]["statistics"], other["averaged"]["statistics"])


def test_what_is_wrong_with_a_teacher_is_said_in_a_line(data, teachers, tmp_path):
    one_line(run(*rich(data, tmp_path / "a", tmp_path / "none.pt")), 2, "--teacher", "no such file")
    words = [word for word in rich(data, tmp_path / "b", "x") if word not in ("--teacher", "x")]
    one_line(run(*words), 2, "--teacher is missing", "rich learns from one", "--set distill=none")
    one_line(run(*flags(data, tmp_path / "c", "--teacher", teachers["checkpoint"])), 2, "tiny learns from none")
    rows = json.loads(teachers["scores"].read_text())
    (tmp_path / "few.json").write_text(json.dumps(rows[1:]))
    few = run(*rich(data, tmp_path / "d", tmp_path / "few.json"))
    one_line(few, 2, "has no scores of 1 of the 8 training videos, first", rows[0]["path"])
    wide = [row | {"scores": [*row["scores"], 0.0]} for row in rows]
    (tmp_path / "wide.json").write_text(json.dumps(wide))
    one_line(run(*rich(data, tmp_path / "e", tmp_path / "wide.json")), 2, "has 3 classes, the student 2")
    assert not any((tmp_path / name).exists() for name in "abcde")


def test_what_does_not_fit_the_run_is_said_in_a_line(data, tmp_path):
    patient = tmp_path / "patient.py"
    patient.write_text(
        f"import sys\nsys.path.insert(0, {str(PIPE.parent)!r})\nfrom dataclasses import replace\n"
        "from c2d_fast.recipe import Augment\nfrom tiny_pipe import RECIPE as TINY, eval_pipe, train_pipe\n"
        "RECIPE = replace(TINY, training=replace(TINY.training, patience=3), augment=Augment(mixup=0.2))\n"
    )
    words = [str(patient) if word == str(PIPE) else word for word in flags(data, tmp_path / "run")]
    at = words.index("--val-list")
    one_line(run(*words[:at], *words[at + 2 :]), 2, "training patience (3): needs validation")
    at = words.index("--batch-size")
    one_line(run(*words[: at + 1], "1", *words[at + 2 :]), 2, "--batch-size 1: mixup and cutmix mix clips of one batch")


def test_a_run_that_is_too_short_for_its_recipe_says_so(data, tmp_path, monkeypatch, capsys):
    for name, field, part in (
        ("warm", "training.warmup_epochs=2", "note: --epochs 1 ends within the recipe's warm-up of 2 epochs"),
        ("grid", "training.grid=(1,2,24),(2,2,28)", "note: --epochs 1 ends within the recipe's training.grid of 3"),
    ):
        words = flags(data, tmp_path / name, "--set", field, epochs=1)
        assert train(*words, monkeypatch=monkeypatch) == 0
        assert part in capsys.readouterr().out
    words = ("--set", "training.clips_per_video=2", "--set", "augment.mixup=0.2")
    with pytest.raises(UserError, match="mix 2 clips of each of several videos of one batch; give 4 at least"):
        run_train(parse(flags(data, tmp_path / "run", *words, epochs=1)))
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_classes_or_of_several_labels_is_refused(data, teachers, tmp_path):
    def said(teacher, *words):
        with pytest.raises(UserError) as refused:
            run_train(parse(rich(data, tmp_path / "run", teacher, *words)))
        assert "\n" not in str(refused.value)
        return str(refused.value)

    rows = json.loads(teachers["scores"].read_text())
    (tmp_path / "several.json").write_text(json.dumps([row | {"label": [row["label"]]} for row in rows]))
    assert "is of kind several, whose scores are no shares of classes" in said(tmp_path / "several.json")
    content = torch.load(teachers["checkpoint"], weights_only=True)
    content["recipe"]["labels"]["kind"] = "several"
    checkpoint.save(content, tmp_path / "several.pt")
    assert "is of kind several" in said(tmp_path / "several.pt")
    (tmp_path / "named.json").write_text(teachers["scores"].read_text())
    (tmp_path / "named.json.summary.json").write_text(json.dumps({"classes": ["run", "walk"]}))
    (tmp_path / "map.txt").write_text("walk\nrun\n")
    assert "give a teacher of the same classes" in said(tmp_path / "named.json", "--label-map", tmp_path / "map.txt")
    assert said(tmp_path / "none.json").startswith(f"--teacher {tmp_path / 'none.json'}: cannot be read")
    assert not (tmp_path / "run").exists()


def test_frozen_random_parts_are_noted(data, tmp_path, monkeypatch, capsys):
    words = flags(data, tmp_path / "run", "--set", "training.freeze=1", epochs=1)
    assert train(*words, monkeypatch=monkeypatch) == 0
    assert "note: training freeze keeps parts as they start, which is at random here" in capsys.readouterr().out
    words = flags(data, tmp_path / "next", "--set", "training.freeze=1", "--weights", tmp_path / "run" / "last.pt", epochs=1)
    assert train(*words, monkeypatch=monkeypatch) == 0
    assert "note:" not in capsys.readouterr().out
