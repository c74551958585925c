"""From a published checkpoint to scores, and to a model of other classes: the worked example, and other commands."""

import json
import re

import numpy as np
import pytest
import torch
from conftest import ROOT
from media import make_dataset, make_video
from payloads import Calls

import c2d_fast
from c2d_fast.model import checkpoint
from c2d_fast.model.c2d import C2D
from c2d_fast.model.model_file import published_name
from c2d_fast.recipe import load_pipe

STROKES = ("back_hand", "fore hand", "serve")
DEMO = load_pipe("dali_pipes/demo.py").recipe


@pytest.fixture(scope="module")
def tennis(tmp_path_factory):
    """The pipe file of docs/custom-data.md, and a folder of videos for each class."""
    folder = tmp_path_factory.mktemp("tennis")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/custom-data.md").read_text(), re.DOTALL)
    (pipe,) = [block for block in blocks if "RECIPE = replace(" in block]
    (folder / "tennis.py").write_text(pipe)
    for split, count in (("train", 2), ("val", 1)):
        for hue, stroke in enumerate(STROKES):
            for number in range(count):
                make_video(folder / split / stroke / f"{number}.mp4", num_frames=20, hue=hue)
    return folder


@pytest.mark.slow
def test_the_worked_example(tennis, tmp_path, run_command):
    recipe = load_pipe(tennis / "tennis.py").recipe
    torch.manual_seed(0)
    kinetics = C2D(load_pipe("dali_pipes/k400_8x8.py").recipe.model)
    state = {published_name(key): value for key, value in kinetics.state_dict().items()}
    torch.save({"meta": Calls(np.arange, 3), "state_dict": state}, tmp_path / "kinetics.pth")
    out = tmp_path / "run"
    train = ["--pipe", tennis / "tennis.py", "--weights", tmp_path / "kinetics.pth", "--train-list", tennis / "train",
             "--val-list", tennis / "val", "--out", out, "--epochs", 1, "--batch-size", 3]  # fmt: skip
    refused = run_command("train", *train)
    assert refused.returncode == 2
    assert "its classifier has 400 classes, the model 3; start a new one with --new-head" in refused.stderr
    done = run_command("train", *train, "--new-head")
    assert done.returncode == 0, done.stderr
    assert "in the published names), classifier new" in done.stdout
    assert "training list train, 6 videos of 3 classes, sha256 " in done.stdout
    content = checkpoint.load(out / "last.pt", "x")
    assert content["classes"] == list(STROKES)
    assert content["recipe"]["name"] == recipe.name == "tennis"
    assert not torch.equal(content["model"]["conv1.weight"], kinetics.conv1.weight)  # it has learnt
    torch.testing.assert_close(content["model"]["conv1.weight"], kinetics.conv1.weight, rtol=0, atol=0.05)  # from there
    score = ["--pipe", tennis / "tennis.py", "--checkpoint", out / "best.pt", "--views", "1x1", "--dump", tmp_path / "s.json"]
    done = run_command("test", *score, "--list", tennis / "val")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "s.json.summary.json").read_text())["result"]
    assert summary["list"] == content["lists"][1]
    # Other folders' classes are told by the names that the checkpoint knows, not by their order.
    fewer = tmp_path / "fewer"
    make_video(fewer / "serve" / "x.mp4", num_frames=20)
    assert run_command("test", *score, "--list", fewer).returncode == 0
    assert [row["label"] for row in json.loads((tmp_path / "s.json").read_text())] == [2]
    make_video(fewer / "lob" / "x.mp4", num_frames=20)
    refused = run_command("test", *score, "--list", fewer)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "class 'lob' is not in the label map of 3 names" in refused.stderr


@pytest.mark.parametrize("temporal_pool", [True, False])
def test_a_published_file_is_scored_as_the_model_says(tmp_path, run_command, temporal_pool):
    data = make_dataset(tmp_path / "data", count=3, num_frames=(40, 20))
    pipe = tmp_path / "small.py"
    pipe.write_text(
        "from dataclasses import replace\nfrom dali_pipes.demo import RECIPE as DEMO, eval_pipe, train_pipe\n"
        f"RECIPE = replace(DEMO, model=replace(DEMO.model, temporal_pool={temporal_pool}))\n"
    )
    torch.manual_seed(0)
    model = C2D(load_pipe(pipe).recipe.model)
    state = {published_name(key): value for key, value in model.state_dict().items()}
    state["cls_head.fc_cls.weight"] = state["cls_head.fc_cls.weight"] * 50
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "x.pth")
    score = ["--pipe", pipe, "--checkpoint", tmp_path / "x.pth", "--list", data]
    done = run_command("test", *score, "--dump", tmp_path / "s.json")
    assert done.returncode == 0, done.stderr
    assert f"taken as {'with' if temporal_pool else 'without'}" in done.stdout
    run_command("browse", "--pipe", pipe, "--list", data, "--split", "test", "--npz", tmp_path / "x.npz")
    clips = torch.from_numpy(np.load(tmp_path / "x.npz")["clips"])
    with torch.inference_mode():
        logits = c2d_fast.load_model(pipe, tmp_path / "x.pth", device="cpu")(clips).view(3, 30, -1)
    expected = logits.softmax(2).mean(1) if temporal_pool else logits.mean(1).softmax(1)
    scores = torch.tensor([row["scores"] for row in json.loads((tmp_path / "s.json").read_text())])
    assert (scores - expected).abs().max() < 1e-5


def demo_checkpoint(path, classes):
    torch.manual_seed(0)
    model, recipe = C2D(DEMO.with_num_classes(3).model), DEMO.with_num_classes(3).as_dict()
    progress = {"step": 2, "epoch": 1, "clips": 0, "best_top1": 50.0, "best_epoch": 1, "skipped": 0}
    content = {"model": model.state_dict(), "optimizer": {}, "scaler": {}, "progress": progress, "recipe": recipe}
    checkpoint.save({**content, "classes": classes}, path)
    return path


def test_labels_that_would_mean_other_classes_are_refused(tennis, tmp_path, run_command):
    (tmp_path / "map.txt").write_text("serve\nback hand\nfore hand\n")
    (tmp_path / "train.txt").write_text("back_hand/0.mp4 1\nfore hand/0.mp4 2\nserve/0.mp4 0\n")
    demo = ["--pipe", "dali_pipes/demo.py", "--num-classes", 3]
    named, numbered = demo_checkpoint(tmp_path / "named.pt", list(STROKES)), demo_checkpoint(tmp_path / "numbered.pt", None)
    train = ["train", *demo, "--out", tmp_path / "run", "--batch-size", 3, "--epochs", 1, "--data-root", tennis / "train"]
    for command, part in (
        (["test", *demo, "--checkpoint", named, "--list", tennis / "val", "--label-map", tmp_path / "map.txt"],
         "class 0 is 'serve', the checkpoint was trained with 'back_hand'"),
        (["test", *demo, "--checkpoint", numbered, "--list", tennis / "val"], "the checkpoint was trained with numbers"),
        ([*train, "--train-list", tmp_path / "train.txt", "--val-list", tennis / "val"], "the training list numbers"),
        ([*train, "--train-list", tennis / "train", "--label-map", tmp_path / "map.txt", "--resume", named],
         "class 0 is 'serve', the checkpoint was trained with 'back_hand'"),
    ):  # fmt: skip
        refused = run_command(*command)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
        assert part in refused.stderr
    right = ["--checkpoint", numbered, "--list", tennis / "val", "--label-map", tmp_path / "map.txt", "--views", "1x1"]
    done = run_command("test", *demo, *right, "--dump", tmp_path / "s.json")
    assert done.returncode == 0, done.stderr
    assert [row["label"] for row in json.loads((tmp_path / "s.json").read_text())] == [1, 2, 0]


def test_scores_are_shown_also_when_the_dump_cannot_be_written(tennis, tmp_path, run_command):
    (tmp_path / "s.json.summary.json").mkdir()
    score = [
        "--pipe",
        "dali_pipes/demo.py",
        "--checkpoint",
        demo_checkpoint(tmp_path / "x.pt", list(STROKES)),
        "--views",
        "1x1",
    ]
    done = run_command("test", *score, "--list", tennis / "val", "--dump", tmp_path / "s.json")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("validation top-1 ")
    (tmp_path / "d.json").mkdir()
    done = run_command("test", *score, "--list", tennis / "val", "--dump", tmp_path / "d.json")
    assert (done.returncode, "is a folder" in done.stderr, "top-1" in done.stdout) == (2, True, False)


def test_an_optimizer_of_another_run_is_refused(tennis, tmp_path, run_command):
    path = demo_checkpoint(tmp_path / "x.pt", list(STROKES))
    args = ["--pipe", "dali_pipes/demo.py", "--num-classes", 3, "--train-list", tennis / "train", "--batch-size", 3]
    refused = run_command("train", *args, "--resume", path, "--epochs", 2, "--out", tmp_path / "run")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
    assert "its optimizer or scaler is not of this run" in refused.stderr


def test_kinetics_lists_train_and_are_stored(tmp_path, run_command):
    """The CSV with a label map for training, ids for validation, as Kinetics users have them."""
    root = tmp_path / "videos"
    lines = ["label,youtube_id,time_start,time_end,split"]
    for i in range(4):
        name = ("tai chi", "playing squash")[i % 2]
        make_video(root / name.replace(" ", "_") / f"-id{i}_000007_000017.mp4", num_frames=20, hue=i)
        lines.append(f'"{name}",-id{i},7,17,train')
    (tmp_path / "train.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    (tmp_path / "labels.txt").write_text("tai chi 1\nplaying squash 0\n")
    make_video(root / "val" / "-x.mp4", num_frames=20)
    (tmp_path / "val.txt").write_text("-x,20,1\n")
    lists = ["--train-list", tmp_path / "train.csv", "--val-list", tmp_path / "val.txt", "--label-map", tmp_path / "labels.txt"]
    args = ["--pipe", "dali_pipes/demo.py", "--data-root", root, "--val-root", root / "val", *lists,
            "--out", tmp_path / "run", "--epochs", 1, "--batch-size", 2]  # fmt: skip
    done = run_command("train", *args)
    assert done.returncode == 0, done.stderr
    assert "training list train.csv, 4 videos of 2 classes" in done.stdout
    content = checkpoint.load(tmp_path / "run" / "last.pt", "x")
    assert content["classes"] == ["playing squash", "tai chi"]
    assert content["recipe"]["model"]["num_classes"] == 2
    assert [item["videos"] for item in content["lists"]] == [4, 1]
    refused = run_command("train", *args, "--num-classes", 3)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "has 2 classes, --num-classes is 3" in refused.stderr
