"""The predict command as users run it: real processes on real files."""

import json

import numpy as np
import pytest
import torch
from media import decode_all, make_video
from runs import PIPE, one_line

from c2d_fast.commands.run_predict import run_predict
from c2d_fast.errors import UserError
from c2d_fast.model.c2d import C2D
from c2d_fast.model.model_file import published_name
from c2d_fast.predict import parse
from c2d_fast.recipe import load_pipe


@pytest.fixture(scope="module")
def model(whole_run):
    return ["--pipe", PIPE, "--checkpoint", whole_run / "best.pt"]


@pytest.fixture(scope="module")
def videos(eight_videos):
    return [eight_videos.parent / line.rsplit(maxsplit=1)[0] for line in eight_videos.read_text().splitlines()]


@pytest.mark.parametrize("views", ["1x1", "10x3"])
def test_it_says_what_test_says(model, videos, eight_videos, tmp_path, run_command, views):
    given = [videos[3], videos[0], videos[3]]
    done = run_command("predict", *given, *model, "--json", "--views", views)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)  # nothing else is printed
    run_command("test", *model, "--list", eight_videos, "--views", views, "--dump", tmp_path / "x.json")
    scores = {row["path"]: row["scores"] for row in json.loads((tmp_path / "x.json").read_text())}
    assert [video["path"] for video in found] == list(map(str, given))
    for video, path in zip(found, given, strict=True):
        expected = scores[str(path.relative_to(eight_videos.parent))]
        best = video["predictions"]
        assert [best[0]["label"], best[1]["label"]] == np.argsort(expected)[::-1].tolist()
        assert [one["probability"] for one in best] == pytest.approx(sorted(expected, reverse=True), abs=1e-5)
        assert {one["class"] for one in best} == {"class 0", "class 1"}


def test_text_names_and_top(model, videos, tmp_path, run_command):
    names = tmp_path / "names.txt"
    names.write_text("one thing\nthe other\n")
    done = run_command("predict", videos[0], *model, "--label-map", names, "--top", 1, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    path, best = done.stdout.splitlines()
    assert path == str(videos[0])
    assert best.split(" %  ")[1] in ("one thing", "the other")


def test_a_folder_and_a_broken_video(model, videos, tmp_path, run_command):
    for name in ("b.mp4", "a.mkv", "sub/c.mp4"):
        make_video(tmp_path / "v" / name, num_frames=20)
    (tmp_path / "v" / "notes.txt").write_text("no video")
    (tmp_path / "v" / "broken.mp4").write_text("no video")
    done = run_command("predict", tmp_path / "v", *model, "--json")
    one_line(done, 2, "1 of 4 videos cannot be read", "broken.mp4: does not decode")
    found = {video["path"].removeprefix(f"{tmp_path}/v/"): video for video in json.loads(done.stdout)}
    assert list(found) == ["a.mkv", "b.mp4", "broken.mp4", "sub/c.mp4"]
    assert [name for name, video in found.items() if "error" in video] == ["broken.mp4"]
    only = run_command("predict", tmp_path / "v" / "broken.mp4", *model)
    one_line(only, 2, "1 of 1 videos")


def test_the_overlay_has_all_frames_and_words_on_them(model, videos, tmp_path, run_command):
    video = make_video(tmp_path / "source.mp4", num_frames=20, width=176, height=144)
    source = decode_all(video)
    done = run_command("predict", video, *model, "--overlay", tmp_path / "one.mp4")
    assert (done.returncode, done.stderr) == (0, "")
    written = decode_all(tmp_path / "one.mp4")
    assert written.shape == source.shape
    difference = np.abs(written.astype(int) - source).mean((0, 2, 3))
    height = len(difference)
    assert difference[: height // 3].mean() < 6  # the picture is what it was, but for its compression
    assert difference[-height // 5 :].mean() > 20  # darkened, behind letters
    (tmp_path / "folder").mkdir()
    done = run_command("predict", videos[0], videos[1], *model, "--overlay", tmp_path / "folder")
    assert done.returncode == 0
    assert sorted(path.stem for path in (tmp_path / "folder").iterdir()) == sorted(path.stem for path in videos[:2])
    small, large = decode_all(videos[0]).shape, decode_all(tmp_path / "folder" / f"{videos[0].stem}.mp4").shape
    assert large[2] >= 120  # pictures that words do not fit are shown several times as large
    assert [long % short for long, short in zip(large[1:3], small[1:3], strict=True)] == [0, 0]


def damaged(path, source, start):
    """A copy of a video with zeros in its data from some part of it on, but for the last bytes."""
    data = bytearray(source.read_bytes())
    first, last = data.index(b"mdat") + 4, len(data) if data.index(b"mdat") > data.index(b"moov") else data.index(b"moov") - 4
    begin = first + int((last - first) * start)
    data[begin:last] = bytes(last - begin)
    path.write_bytes(data)
    return path


def test_one_bad_overlay_costs_no_other(model, tmp_path, run_command):
    good = make_video(tmp_path / "v" / "good.mp4", num_frames=60)
    tail = damaged(tmp_path / "v" / "a tail.mp4", good, 0.8)
    (tmp_path / "out").mkdir()
    done = run_command("predict", tail, good, *model, "--overlay", tmp_path / "out")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "a tail.mp4" in done.stderr
    assert "disk" not in done.stderr
    assert decode_all(tmp_path / "out" / "good.mp4").shape[0] == 60


def test_where_no_video_decodes_each_is_named(model, tmp_path, run_command):
    good = make_video(tmp_path / "good.mp4", num_frames=60)
    bad = damaged(tmp_path / "bad.mp4", good, 0.05)
    done = run_command("predict", bad, *model, "--json")
    one_line(done, 2, "1 of 1 videos cannot be read, first ", "bad.mp4: ")
    (video,) = json.loads(done.stdout)
    assert video["path"] == str(bad)
    assert "decode" in video["error"] or "ends after" in video["error"]


def test_published_checkpoints_have_kinetics_names(videos, tmp_path, run_command):
    pipe = tmp_path / "small.py"
    pipe.write_text(
        "from dataclasses import replace\nfrom tiny_pipe import RECIPE as TINY, eval_pipe, train_pipe\n"
        "RECIPE = TINY.with_num_classes(400)\n"
    )
    torch.manual_seed(0)
    model = C2D(load_pipe(PIPE).recipe.with_num_classes(400).model)
    model.fc.bias.data[[5, 0]] = torch.tensor([20.0, 18.0])
    torch.save({"state_dict": {published_name(key): value for key, value in model.state_dict().items()}}, tmp_path / "x.pth")
    env = {"PYTHONPATH": str(PIPE.parent)}
    done = run_command("predict", videos[0], "--pipe", pipe, "--checkpoint", tmp_path / "x.pth", "--top", 2, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(" %  ")[1] for line in done.stdout.splitlines()[-2:]] == ["archery", "abseiling"]


def test_wrong_arguments(model, videos, tmp_path, run_command):
    (tmp_path / "empty").mkdir()
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    onnx, empty = tmp_path / "x.onnx", tmp_path / "empty.pt"
    onnx.write_bytes(b"\x08")
    empty.touch()
    other = make_video(tmp_path / "x" / videos[0].name, num_frames=20)
    make_video(other.with_suffix(".mkv"), num_frames=20)
    for words, part in (
        ([tmp_path / "none.mp4", *model], "no such file or folder"),
        ([tmp_path / "empty", *model], "holds no video"),
        ([videos[0], *model, "--overlay", tmp_path / "x.avi"], "must end in .mp4"),
        ([videos[0], videos[1], *model, "--overlay", tmp_path / "x.mp4"], "must be a folder that exists, for 2 videos"),
        ([other, *model, "--overlay", other], "is one of the videos, which are only read"),
        ([videos[0], other, *model, "--overlay", tmp_path], "would be that of"),
        ([other.with_suffix(".mkv"), *model, "--overlay", other.parent], "is there, beside the videos"),
        ([videos[0], *model, "--overlay", tmp_path / "none" / "x.mp4"], "its folder does not exist"),
        ([videos[0], *model, "--label-map", tmp_path / "three.txt"], "three.txt: has 3 classes, --checkpoint"),
        ([videos[0], "--pipe", PIPE, "--checkpoint", onnx], "is an ONNX file, which cannot be read back"),
        ([videos[0], "--pipe", PIPE, "--checkpoint", empty], "is empty; give a last.pt"),
        ([videos[0], "--pipe", PIPE.parent, "--checkpoint", empty], "is a folder; give the path of a pipe file"),
        ([videos[0], *model, "--top", 0], "argument --top"),
        ([videos[0], *model, "--views", "3x3"], "invalid choice: '3x3'"),
        ([*model], "VIDEO"),
        ([videos[0], "--pipe", PIPE], "--checkpoint"),
    ):
        with pytest.raises(UserError) as refused:
            run_predict(parse(list(map(str, words))))
        assert part in str(refused.value)
    one_line(run_command("predict", tmp_path / "none.mp4", *model), 2, "no such file or folder")
