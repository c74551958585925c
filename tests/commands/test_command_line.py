"""The commands as users run them: real processes, one-line errors with exit code 2, and a run from data to score."""

import json
import math
import os
import pickle
import re
import signal
import subprocess
import sys
import time

import fork_server
import pytest
import torch
from conftest import ROOT
from media import make_dataset
from runs import environment
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TINY = str(ROOT / "tests" / "tiny_pipe.py")
DEEPER = """
from dataclasses import replace
from tests.tiny_pipe import RECIPE as TINY, eval_pipe, train_pipe
RECIPE = replace(TINY, model=replace(TINY.model, depth=18))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight small H.264 videos of two classes."""
    return make_dataset(tmp_path_factory.mktemp("data set"), count=8, num_frames=(20,))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory, run_command):
    """The folder of a run of one epoch."""
    out = tmp_path_factory.mktemp("runs") / "run"
    done = run_command("train", *flags(data, out))
    assert done.returncode == 0, done.stderr
    return out


def flags(data, out, *more):
    return ["--pipe", TINY, "--train-list", data, "--val-list", data, "--num-classes", 2, "--out", out,
            "--batch-size", 4, "--epochs", 1, *more]  # fmt: skip


def assert_one_line(done, *parts):
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")
    for part in parts:
        assert part in done.stderr


def test_trains_validates_records_resumes_and_scores(data, tmp_path, run_command):
    out = tmp_path / "run"
    done = run_command("train", *flags(data, out))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "ffmpeg (there is no CUDA GPU)" in done.stdout
    assert "learning rate" in done.stdout

    again = run_command("train", *flags(data, out))
    assert_one_line(again, "holds a run already", "--resume auto")

    resumed = run_command("train", *flags(data, out, "--resume", "auto", "--epochs", 2))
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from" in resumed.stdout
    assert "epoch 2/2: validation top-1" in resumed.stdout
    assert torch.load(out / "last.pt", weights_only=True)["progress"]["epoch"] == 2
    assert torch.load(out / "best.pt", weights_only=True)["recipe"]["name"] == "tiny"

    board = EventAccumulator(str(out)).Reload()
    assert {"train/loss", "train/top1", "train/lr", "train/clips_per_s", "train/data_wait_percent",
            "val/loss", "val/top1", "val/top5"} <= set(board.Tags()["scalars"])  # fmt: skip
    assert [event.step for event in board.Scalars("val/top1")] == [2, 4]
    config = json.loads((out / "config.json").read_text())
    assert config["flags"]["batch_size"] == 4
    assert config["recipe"]["model"]["num_classes"] == 2
    assert config["versions"]["torch"] == torch.__version__.split("+")[0]
    assert "c2d_fast.train" in config["command"]
    assert {item["videos"] for item in config["lists"]} == {8}
    assert config["used"]["decoder"] == config["used"]["val_decoder"] == "ffmpeg"
    assert config["used"]["compiled"] is False


def test_scores_and_writes_them_down(data, tmp_path, trained, run_command):
    for name in ("scores.pkl", "scores.json"):
        scored = run_command(
            "test", "--pipe", TINY, "--checkpoint", trained / "best.pt", "--list", data, "--dump", tmp_path / name
        )
        assert scored.returncode == 0, scored.stderr
        assert scored.stderr == ""
        assert "8 videos of 2 classes, sha256" in scored.stdout
        assert "mean class accuracy" in scored.stdout
        assert scored.stdout.splitlines()[-1].startswith("10x3 top-1 ")
    rows = pickle.loads((tmp_path / "scores.pkl").read_bytes())
    assert rows == json.loads((tmp_path / "scores.json").read_text())
    result = json.loads((tmp_path / "scores.pkl.summary.json").read_text())["result"]
    assert result["list"] == json.loads((trained / "config.json").read_text())["lists"][1]
    assert (result["list"]["videos"], result["list"]["classes"], len(result["list"]["sha256"])) == (8, 2, 64)
    assert (result["views"], result["decoder"], result["videos_scored"]) == ("10x3", "ffmpeg", 8)
    assert [row["path"] for row in rows] == [line.rsplit(maxsplit=1)[0] for line in data.read_text().splitlines()]
    assert all(row["label"] == i % 2 and math.isclose(sum(row["scores"]), 1, abs_tol=1e-5) for i, row in enumerate(rows))
    right = sum(max(range(2), key=row["scores"].__getitem__) == row["label"] for row in rows)
    assert f"10x3 top-1 {100 * right / 8:.1f} % (chance 50.0 %)" in scored.stdout
    assert result["top1"] == result["mean_class_accuracy"] == 100 * right / 8  # as many videos of each class

    pipe = write(tmp_path / "deeper.py", DEEPER)
    other = run_command("test", "--pipe", pipe, "--checkpoint", trained / "best.pt", "--list", data)
    assert_one_line(other, "is of another model", "tiny")


def test_trains_without_validation(data, tmp_path, run_command):
    args = [
        "--pipe",
        TINY,
        "--train-list",
        data,
        "--num-classes",
        2,
        "--out",
        tmp_path / "r",
        "--batch-size",
        8,
        "--epochs",
        1,
    ]
    done = run_command("train", *args)
    assert done.returncode == 0, done.stderr
    assert "nothing is validated" in done.stdout
    assert (tmp_path / "r" / "best.pt").exists()


def test_interrupted_by_ctrl_c_it_says_how_to_go_on(data, tmp_path, run_command):
    out = tmp_path / "run"
    args = [sys.executable, "-m", "c2d_fast.train", *map(str, flags(data, out, "--epochs", 1000))]
    # A terminal sends the signal to the whole process group, workers included.
    process = fork_server.start(
        args, environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        deadline, records = time.monotonic() + 300, ""
        # Two validations: the first epoch is over, and its checkpoint written.
        while records.count('"val"') < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
            records = (out / "metrics.jsonl").read_text() if (out / "metrics.jsonl").exists() else ""
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 130
    assert stderr.strip() == "interrupted"
    assert "go on from there with --resume auto" in stdout
    epoch = torch.load(out / "last.pt", weights_only=True)["progress"]["epoch"]
    assert epoch >= 1
    resumed = run_command("train", *flags(data, out, "--resume", "auto", "--epochs", epoch + 1))
    assert resumed.returncode == 0, resumed.stderr
    assert f"after epoch {epoch}" in resumed.stdout


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


BAD_LISTS = {
    "missing list": (None, ["cannot be read"]),
    "empty list": ("", ["is empty"]),
    "no label": ("some videos/clip 0.mp4\n", [":1:", "label"]),
    "label out of range": ("some videos/clip 0.mp4 0\nsome videos/clip 1.mp4 2\n", [":2:", "out of range", "0 to 1"]),
    "missing video": (
        "some videos/clip 0.mp4 0\nsome videos/lost.mp4 1\n",
        [":2: some videos/lost.mp4", "--allow-missing"],
    ),
    "fewer than a batch": ("some videos/clip 0.mp4 0\n", ["1 usable videos", "4 clips"]),
    "unreadable": ("bad/a.mp4 0\nbad/b.mp4 1\n", ["2 of the 2 videos", "bad/a.mp4"]),
}


@pytest.mark.parametrize("name", BAD_LISTS)
def test_bad_lists(data, tmp_path, run_command, name):
    text, parts = BAD_LISTS[name]
    for video in ("a", "b"):
        write(data.parent / "bad" / f"{video}.mp4", "no video")
    path = tmp_path / "list.txt"
    if text is not None:
        write(path, text)
    args = flags(data, tmp_path / "run", "--data-root", data.parent)
    args[args.index("--train-list") + 1] = path
    done = run_command("train", *args)
    assert_one_line(done, str(path), *parts)
    assert not (tmp_path / "run").exists()


def test_bad_flags_and_files(data, tmp_path, run_command):
    no_recipe = write(tmp_path / "no_recipe.py", "x = 1\n")
    wrong = write(tmp_path / "wrong.py", "import no_such_module\n")
    text = write(tmp_path / "x.pt", "no checkpoint")
    graphs = (
        "from dali_pipes.k400_8x8 import *\n@pipeline_def\ndef train_pipe(source):\n    c, s, e, f, i, p = read_clips(source)\n"
    )
    bad_graph = write(tmp_path / "bad_graph.py", graphs + "    return fn.no_such_operator(c), i, p\n")
    leaves = write(tmp_path / "leaves.py", "import sys\nsys.exit(0)\n")
    cases = {
        "--pipe nowhere.py: no such file": ["train", *flags(data, tmp_path / "r"), "--pipe", "nowhere.py"],
        "declares no RECIPE": ["train", *flags(data, tmp_path / "r"), "--pipe", no_recipe],
        "does not import: ModuleNotFoundError": ["train", *flags(data, tmp_path / "r"), "--pipe", wrong],
        "train_pipe of the pipe file does not build": ["train", *flags(data, tmp_path / "r"), "--pipe", bad_graph],
        "does not import: SystemExit": ["train", *flags(data, tmp_path / "r"), "--pipe", leaves],
        "cannot be made": ["train", *flags(data, text / "below")],
        "--decoder nvdec: there is no CUDA GPU": ["train", *flags(data, tmp_path / "r"), "--decoder", "nvdec"],
        "is h264; DALI's CPU decoder": ["train", *flags(data, tmp_path / "r"), "--decoder", "dali"],
        "--train-list is missing": ["train", "--pipe", "dali_pipes/k400_8x8.py"],
        "invalid choice: 'fp8'": ["train", *flags(data, tmp_path / "r"), "--precision", "fp8"],
        "argument --batch-size": ["train", *flags(data, tmp_path / "r"), "--batch-size", 0],
        "argument --seed": ["train", *flags(data, tmp_path / "r"), "--seed", -1],
        "--max-bad-videos many": ["train", *flags(data, tmp_path / "r"), "--max-bad-videos", "many"],
        "--resume": ["train", *flags(data, tmp_path / "r"), "--resume", tmp_path / "none.pt"],
        "--weights": ["train", *flags(data, tmp_path / "r"), "--weights", tmp_path / "none.pth"],
        "--checkpoint": ["test", "--pipe", TINY, "--checkpoint", text, "--list", data],
        "--list is missing": ["test", "--pipe", "dali_pipes/k400_8x8.py", "--checkpoint", text],
        "--dump": ["test", "--pipe", TINY, "--checkpoint", text, "--list", data, "--dump", "x.csv"],
        "required: --pipe": ["train"],
        "holds something other": ["prepare", "demo", "--out", data.parent],
    }
    for part, command in cases.items():
        assert_one_line(run_command(*command), part)


def test_broken_videos_are_left_out_up_to_the_limit(tmp_path, run_command):
    data = make_dataset(tmp_path / "data", count=10, num_frames=(20,))
    for i in (2, 5):
        (data.parent / f"some videos/clip {i}.mp4").write_text("no video")
    good = write(tmp_path / "data" / "good.txt", "".join(data.read_text().splitlines(keepends=True)[6:]))
    args = flags(data, tmp_path / "run")
    args[args.index("--val-list") + 1] = good
    assert_one_line(run_command("train", *args), "2 of the 10 videos", "limit is 1%")
    done = run_command("train", *args, "--max-bad-videos", "20%")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("left out: ") == 2
    assert "2 of 10 videos left out" in done.stdout

    score = ["test", "--pipe", TINY, "--checkpoint", tmp_path / "run" / "best.pt", "--list", data, "--views", "1x1"]
    assert_one_line(run_command(*score), "clip 2.mp4", "--allow-missing")
    (data.parent / "some videos/clip 5.mp4").unlink()
    scored = run_command(*score, "--allow-missing")
    assert scored.returncode == 0, scored.stderr
    assert "8 of 10 videos" in scored.stdout.splitlines()[-1]


def test_quiet_shows_results_only(data, tmp_path, trained, run_command):
    done = run_command("train", *flags(data, tmp_path / "r", "--quiet"))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"best validation top-1 [\d.]+ % after epoch 1: \S+best.pt\n", done.stdout)
    done = run_command("test", "--pipe", TINY, "--checkpoint", trained / "best.pt", "--list", data, "--views", "1x1", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["list", "mean", "top-5", "validation"]
    assert_one_line(run_command("train", *flags(data, trained, "--quiet")), "holds a run already")


def test_weights_without_network_say_what_to_give(data, tmp_path, run_command):
    args = ["--pipe", "dali_pipes/demo.py", "--num-classes", 2, "--train-list", data, "--out", tmp_path / "r"]
    args += ["--batch-size", 4, "--weights", "imagenet"]
    env = {"TORCH_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    assert_one_line(run_command("train", *args, env=env), "resnet18-f37072fd.pth", "--weights FILE")
