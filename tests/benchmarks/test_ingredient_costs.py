"""The benchmarks of ingredients and labels: what they write, what the page shows of it, and the videos that they make."""

import importlib
import json
import math
import os
import statistics
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from media import decode_all

from c2d_fast.recipe import load_pipe

ROOT = Path(__file__).parents[2]


def run(*words, timeout=900):
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, *map(str, words)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=env, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def here(monkeypatch):
    """The benchmarks' modules can be imported."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("name", ["ablation", "ingredients", "labels"])
def test_the_page_shows_what_was_measured(here, name):
    benchmark = importlib.import_module(name)
    text, measured = (ROOT / "docs/benchmarks.md").read_text(), json.loads(benchmark.RESULT.read_text())
    assert measured["format"] == benchmark.FORMAT
    for mark, table in benchmark.TABLES.items():
        assert f"<!-- {mark}: begin -->\n{table(measured)}\n<!-- {mark}: end -->" in text


def test_every_variant_was_run_with_every_seed_at_equal_steps(here):
    import ablation
    from ingredient_variants import plain_recipe, variants

    measured = json.loads(ablation.RESULT.read_text())
    settings = measured["settings"]
    expected = variants(plain_recipe(settings["epochs"]), settings["steps"])
    assert list(measured["variants"]) == list(expected)
    assert {"plus", "plus distilled"} <= set(expected)
    runs = [(row["variant"], row["seed"]) for row in measured["runs"]]
    assert len(runs) == len(set(runs)) == 5 * len(expected)
    assert {name for name, _ in runs} == set(expected)
    assert settings["val_videos"] >= 200


def test_several_labels_are_learnt_and_rare_classes_are_rare(here):
    import labels

    measured = json.loads(labels.RESULT.read_text())
    assert len(measured["several"]["runs"]) >= 3
    assert min(row["mAP"] for row in measured["several"]["runs"]) >= 90
    imbalanced = measured["imbalanced"]
    assert imbalanced["counts"][0] == 50 * imbalanced["counts"][-1]
    runs = [(row["way"], row["seed"]) for row in imbalanced["runs"]]
    assert sorted(runs) == sorted((way, seed) for way in labels.WAYS for seed in range(3))
    for row in imbalanced["runs"]:
        assert row["mean_class_accuracy"] == pytest.approx(statistics.mean(row["recall"]), abs=0.01)


def test_an_ablation_s_summary_pairs_by_seed(here):
    import ablation

    scores = {"plain": {0: 50.0, 1: 60.0, 2: 70.0}, "other": {2: 73.0, 0: 52.0, 1: 61.0}}
    result = {"variants": dict.fromkeys(scores), "runs": []}
    result["runs"] = [{"variant": name, "seed": seed, "top1": top1} for name, of in scores.items() for seed, top1 in of.items()]
    other = ablation.summary(result)["other"]
    assert other["difference"] == pytest.approx(2)
    assert other["standard_error"] == pytest.approx(1 / math.sqrt(3))
    assert other["deviation"] == pytest.approx(statistics.stdev([73, 52, 61]))
    assert ablation.summary(result)["plain"]["difference"] == 0


def test_each_variant_changes_one_thing_and_plus_what_the_shipped_recipe_changes(here):
    from ingredient_variants import changes, plain_recipe, variants

    plain = plain_recipe(16)
    found = {name: changes(plain, one.recipe) for name, one in variants(plain, 400).items()}
    assert found["plain"] == {}
    assert found["mixup"] == {"augment.mixup": 0.2}
    assert found["label smoothing"] == {"training.label_smoothing": 0.1}
    half = {"training.clips_per_video": 2, "training.epochs": 8, "training.milestones": [6, 7]}
    assert (plain.training.milestones, found["two clips a video"]) == ((12, 14), half)
    base, shipped = load_pipe("k400_8x8").recipe, load_pipe("k400_8x8_plus").recipe
    expected = {
        f"{part}.{item.name}"
        for part in ("training", "augment", "crop")
        for item in fields(getattr(base, part))
        if getattr(getattr(base, part), item.name) != getattr(getattr(shipped, part), item.name)
    }
    assert set(found["plus"]) == expected
    assert set(found["plus distilled"]) == expected | {"distill"}


def test_plus_is_scaled_to_the_run(here, tmp_path):
    from ingredient_variants import plain_recipe, scaled

    plain, base = plain_recipe(16), load_pipe("k400_8x8").recipe
    training = replace(base.training, ema=0.9999, warmup_epochs=10, lr=0.02, clips_per_video=2, grid=((20, 4, 112),))
    crop = replace(base.crop, kind="short_side_jitter", short_sides=(256, 320))
    made = scaled(plain, replace(base, training=training, crop=crop), 400)
    assert made.training.grid == ((3, 2, 20),)
    assert made.training.ema == pytest.approx(1 - 0.0001 * 93900 / 400, abs=1e-3)
    assert made.training.lr == pytest.approx(2 * plain.training.lr)
    assert (made.training.epochs, made.training.warmup_epochs) == (8, pytest.approx(0.8))
    assert made.crop.short_sides == (46, 57)


def test_a_recipe_is_written_as_a_pipe_file_that_loads(here, tmp_path):
    from ingredient_variants import plain_recipe, variants
    from short_runs import write_pipe

    for name, one in variants(plain_recipe(16), 400).items():
        assert load_pipe(write_pipe(one.recipe, tmp_path / f"{name}.py")).recipe == one.recipe


def test_hard_videos_are_the_demo_s_with_noise(here):
    from hard_videos import FIRST, LENGTH, hard_frames

    from c2d_fast.prepare.demo_data import video_frames

    whole = np.stack([image for image, _ in zip(video_frames("val", 2, FIRST + 1), range(LENGTH), strict=False)]).astype(float)
    halved = whole.reshape(len(whole), whole.shape[1] // 2, 2, whole.shape[2] // 2, 2, 3).mean((2, 4))
    noisy, again = (np.stack(list(hard_frames("val", 2, 1, 10.0))).astype(float) for _ in range(2))
    assert (noisy == again).all()
    inner = (halved > 60) & (halved < 195)  # what is not cut off at black or white
    assert (noisy - halved)[inner].std() == pytest.approx(10 * math.sqrt(2), rel=0.05)
    other = np.stack(list(hard_frames("val", 2, 1, 20.0))).astype(float)
    assert (other - halved)[inner].std() > 1.7 * (noisy - halved)[inner].std()


def test_label_videos_show_what_their_list_says(here, tmp_path):
    from label_videos import _COLOURS, make_label_videos

    make_label_videos(tmp_path, {"train": 12})
    labels = [line.split() for line in (tmp_path / "train.txt").read_text().splitlines()]
    counts = {label.count(",") + 1 if label != "-1" else 0 for _, label in labels}
    assert counts >= {0, 1, 2}
    for path, label in labels:
        images = decode_all(tmp_path / path).astype(float)
        seen = {kind for kind, colour in enumerate(_COLOURS) if (np.abs(images - colour).max(-1) < 40).sum((1, 2)).min() > 25}
        assert seen == {int(word) for word in label.split(",")} - {-1}, path


@pytest.mark.slow
def test_ablation_and_labels_are_measured(tmp_path, here):
    one = ["--jobs", 1, "--seeds", 1, "--data", tmp_path / "data"]
    flags = [*one, "--epochs", 4, "--train-videos", 2, "--val-videos", 1, "--only", "distilled", "--out", tmp_path / "a.json"]
    said = run("benchmarks/ablation.py", *flags).splitlines()
    result = json.loads((tmp_path / "a.json").read_text())
    assert [row["variant"] for row in result["runs"]] == ["plain", "distilled"]
    assert [line.split(" | ")[0] for line in said[-4:-2]] == ["| plain", "| distilled"]
    assert "1/1" not in run("benchmarks/ablation.py", *flags)  # nothing is left to be run
    run("benchmarks/labels.py", *one, "--epochs", 2, "--videos", 16, "--share", 10, "--out", tmp_path / "l.json")
    result = json.loads((tmp_path / "l.json").read_text())
    assert [row["way"] for row in result["imbalanced"]["runs"]] == list(importlib.import_module("labels").WAYS)
    assert all(len(row["recall"]) == 4 for row in result["imbalanced"]["runs"])
    assert 0 < result["several"]["runs"][0]["mAP"] <= 100


@pytest.mark.slow
def test_costs_are_measured(tmp_path, here):
    flags = ["--only", "demo", "--batch-size", 2, "--rounds", 2, "--out", tmp_path / "i.json"]
    said = run("benchmarks/ingredients.py", *flags)
    (model,) = json.loads((tmp_path / "i.json").read_text())["models"]
    assert {"ema", "mixup", "randaugment", "distilled", "trivialaugment"} <= {row["name"] for row in model["rows"]}
    assert all(row["low"] <= row["median"] <= row["high"] for row in model["rows"])
    assert said.count("| ema | ") == 1


@pytest.mark.slow
def test_several_labels_a_video_are_learnt_by_the_commands(tmp_path, here):
    from label_videos import make_label_videos
    from labels import several_recipe
    from short_runs import write_pipe

    lists, pipe = (
        make_label_videos(tmp_path, {"train": 320, "val": 160}),
        write_pipe(several_recipe(32), tmp_path / "several.py"),
    )
    data = ["--train-list", lists["train"], "--val-list", lists["val"], "--pictures-every", 0]
    run("-m", "c2d_fast.train", "--pipe", pipe, *data, "--out", tmp_path / "run")
    words = ["--checkpoint", tmp_path / "run/last.pt", "--list", lists["val"], "--views", "1x1"]
    said = run("-m", "c2d_fast.test", "--pipe", pipe, *words).splitlines()[-1]
    assert said.startswith("validation mAP ")
    assert float(said.split()[2]) >= 90
