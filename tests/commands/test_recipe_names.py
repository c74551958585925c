"""Shipped recipes by their names: --pipe k400_8x8."""

import hashlib
import json
from dataclasses import replace

import pytest
from conftest import ROOT
from runs import last, one_line, train

import c2d_fast
from c2d_fast.errors import UserError
from c2d_fast.recipe import find_pipe, load_pipe, shipped_pipes

PUBLISHED = ["k400_16x4", "k400_8x8", "k400_8x8_nopool", "k400_8x8_nopool_r101"]
CLASSES = {"hmdb51_8x8": 51, "k600_8x8": 600, "k700_8x8": 700, "ssv2_8x8": 174, "ucf101_8x8": 101}
NAMES = sorted(["demo", "k400_8x8_nonlocal", "k400_8x8_plus", "k400_8x8_plus_distilled", *PUBLISHED, *CLASSES])


def test_all_shipped_recipes_have_their_files_names():
    assert sorted(shipped_pipes()) == NAMES
    for name in NAMES:
        pipe = load_pipe(name)
        assert pipe.recipe.name == name
        assert pipe.path.samefile(ROOT / f"dali_pipes/{name}.py")
        assert pipe.recorded_path == f"dali_pipes/{name}.py"
    assert sum(p.numel() for p in c2d_fast.load_model("demo", device="cpu").parameters()) > 10_000_000


def test_only_what_is_published_or_measured_has_figures():
    recipes = {name: load_pipe(name).recipe for name in NAMES}
    assert {name for name, recipe in recipes.items() if recipe.published} == {*PUBLISHED}
    assert {name for name, recipe in recipes.items() if recipe.reference} == {*PUBLISHED, "demo"}
    assert {name: recipes[name].model.num_classes for name in CLASSES} == CLASSES
    for name in set(NAMES) - {*PUBLISHED, "demo", "k400_8x8_nonlocal"}:
        assert "**No accuracy is claimed**" in (ROOT / f"dali_pipes/{name}.py").read_text()
        assert recipes[name].training.clip_grad_norm > 0
        assert f"`{name}`" in (ROOT / "docs/recipes.md").read_text()


def test_recipes_without_figures_differ_from_the_published_one_in_what_they_say():
    plain = load_pipe("k400_8x8").recipe
    plus, distilled, ssv2 = (load_pipe(name).recipe for name in ("k400_8x8_plus", "k400_8x8_plus_distilled", "ssv2_8x8"))
    assert plus.model == plain.model
    assert (plus.clip, plus.crop) == (plain.clip, plain.crop)
    assert (plus.training.lr, plus.training.epochs, plus.training.weight_decay) == (0.01, 100, 1e-4)
    words = [
        "schedule=cosine",
        "milestones=",
        "warmup_epochs=10",
        "warmup_factor=0.5",
        "label_smoothing=0.1",
        "decay_norms=false",
    ]
    by_words = load_pipe("k400_8x8", [*(f"training.{word}" for word in words), "augment.mixup=0.2"]).recipe
    assert (by_words.training, by_words.augment) == (plus.training, plus.augment)
    assert distilled == replace(plus, name=distilled.name, distill=distilled.distill)
    assert distilled.distill is not None
    assert (ssv2.crop.flip, ssv2.clip.sampling) == (0, "uniform")  # labels tell left from right


def test_a_file_of_that_name_comes_first_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert find_pipe("demo") == shipped_pipes()["demo"]
    (tmp_path / "demo").rmdir()
    (tmp_path / "demo").write_text("RECIPE = 1\n")
    assert str(find_pipe("demo")) == "demo"
    with pytest.raises(UserError, match=r"--pipe demo: is not a Python file; a pipe file ends in \.py"):
        load_pipe("demo")
    for path in ("./k400_8x8", "elsewhere/k400_8x8", "k400_8x8.py"):  # a path is a path
        with pytest.raises(UserError, match=f"--pipe {path}: no such file"):
            load_pipe(path)


def test_a_users_file_is_recorded_as_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text((ROOT / "dali_pipes/demo.py").read_text())
    assert load_pipe("mine.py").recorded_path == "mine.py"
    assert load_pipe(tmp_path / "mine.py").recorded_path == str(tmp_path / "mine.py")


def test_an_unknown_name_lists_the_shipped_ones(run_command):
    done = run_command("train", "--pipe", "k400_8x9")
    one_line(
        done, 2, "error: --pipe k400_8x9: no such file; give the path of a pipe file, or the name of a shipped one: demo, "
    )
    assert done.stderr.endswith(": " + ", ".join(sorted(NAMES)) + "\n")
    one_line(run_command("info", "--pipe", "dali_pipes"), 2, "--pipe dali_pipes: is a folder; give the path")


def test_a_run_goes_on_by_name_or_by_path(eight_videos, tmp_path, monkeypatch, capsys):
    out, path = tmp_path / "run", ROOT / "dali_pipes/demo.py"
    given = ["--train-list", eight_videos, "--num-classes", 2, "--out", out, "--batch-size", 4, "--workers", 1]
    train("--pipe", "demo", *given, "--epochs", 1, monkeypatch=monkeypatch)
    config, text = json.loads((out / "config.json").read_text()), path.read_text()
    assert config["flags"]["pipe"] == "demo"
    recorded = {"path": "dali_pipes/demo.py", "sha256": hashlib.sha256(text.encode()).hexdigest(), "text": text}
    assert config["pipe_file"] == last(out)["pipe_file"] == recorded
    for epochs, pipe in ((2, path), (3, "demo")):
        capsys.readouterr()
        train("--pipe", pipe, *given, "--epochs", epochs, "--resume", "auto", monkeypatch=monkeypatch)
        printed = capsys.readouterr().out
        assert f"after epoch {epochs - 1}" in printed
        assert "note: it" not in printed
        assert last(out)["progress"]["epoch"] == epochs
    assert last(out)["pipe_file"] == recorded


def test_no_shipped_recipe_is_written_over(eight_videos, tmp_path, run_command):
    path = shipped_pipes()["demo"]
    before = path.read_bytes()
    for name in ("x.npz", "x.onnx"):
        (tmp_path / name).symlink_to(path)
    for words in (
        ["browse", "--pipe", "demo", "--list", eight_videos, "--num-classes", 2, "--npz", tmp_path / "x.npz"],
        ["export", "--pipe", "demo", "--checkpoint", "none.pt", "--out", tmp_path / "x.onnx"],
    ):
        one_line(run_command(*words), 2, f"{words[-1]}: is {path}, which is only read; give another file")
    assert path.read_bytes() == before
