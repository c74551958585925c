"""`export --check` on lists with several labels a video, and with shares: it says what `test` says."""

import json
import re
from dataclasses import replace

import pytest
import torch
from exports import lively, run, save
from runs import PIPE

from c2d_fast.commands.run_test import run_test
from c2d_fast.errors import UserError
from c2d_fast.recipe import Labels, load_pipe
from c2d_fast.test import parse as parse_test

RECIPE = load_pipe(PIPE).recipe
LABELS = {  # kind -> the labels of ten videos
    "several": ["0,1", "1", "0", "1", "0,1", "1", "0", "-1", "0", "1"],
    "soft": ["0:0.6,1:0.4", "1", "0", "0:0.2,1:0.8", "0", "1", "0", "1", "1", "0"],
}
FIGURE = {"several": "mAP", "soft": "top1"}


@pytest.fixture(params=LABELS)
def kind(request):
    return request.param


@pytest.fixture
def given(kind, ten_videos, tmp_path):
    """The words of a checkpoint, and a list of its kind."""
    recipe = replace(RECIPE, model=replace(RECIPE.model, dropout=0.0), labels=Labels(kind=kind))
    videos = [line.rsplit(maxsplit=1)[0] for line in ten_videos.read_text().splitlines()]
    listed = tmp_path / "listed.txt"
    listed.write_text("".join(f"{video} {label}\n" for video, label in zip(videos, LABELS[kind], strict=True)))
    path = save(lively(recipe), recipe.as_dict(), tmp_path / "best.pt")
    checkpoint = torch.load(path)
    checkpoint["classes"] = ["one thing", "the other"]
    torch.save(checkpoint, path)
    return ["--checkpoint", path, "--pipe", PIPE, "--workers", 1, "--data-root", ten_videos.parent], listed


def told(text):
    return re.findall(r"  (.+): (mAP|top-1) ([\d.]+) % \((\d+) videos of listed\.txt, one centre view each\)", text)


@pytest.mark.parametrize("form", ["pt2", pytest.param("onnx", marks=pytest.mark.slow)])
def test_it_says_what_test_says(kind, given, tmp_path, capsys, form):
    words, listed = given
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    more = ["--precision", "int8", "--calibrate", listed, "--calibration-videos", 4] if form == "onnx" else []
    run(*words, "--to", form, "--out", tmp_path / f"x.{form}", "--check", listed, *more)
    said = capsys.readouterr().out
    run_test(parse_test([*map(str, words), "--list", str(listed), "--views", "1x1", "--dump", str(tmp_path / "s.json")]))
    result = json.loads((tmp_path / "s.json.summary.json").read_text())["result"]
    (before, name, value, videos), (after, *rest) = told(said)
    assert (before, name, videos) == ("PyTorch, fp32", "mAP" if kind == "several" else "top-1", "10")
    assert value == f"{result[FIGURE[kind]]:.1f}"
    assert after == f"x.{form}, {'int8' if form == 'onnx' else 'fp32'}"
    what = "the classes that reach 0.5 are" if kind == "several" else "the best class is"
    same = re.search(rf"  {what} the same for (\d+) of 10 videos of listed\.txt; logits differ by", said)
    if form == "pt2":
        assert rest == [name, value, videos]
        assert same[1] == "10"


def test_a_list_of_another_kind_is_refused_in_one_line(kind, given, tmp_path):
    words, listed = given
    if kind == "soft":
        listed.write_text(listed.read_text().replace(" 1\n", " 0:0.5,1:0.7\n"))
        rule = r"listed\.txt:2: .*: the weights of its labels sum to 1\.2"
    else:
        save(lively(RECIPE), RECIPE.as_dict(), tmp_path / "best.pt")
        rule = r"listed\.txt:1: .*: has the labels 0,1 .* of kind single"
    with pytest.raises(UserError, match=rule):
        run(*words, "--to", "pt2", "--out", tmp_path / "x.pt2", "--check", listed)
    assert not (tmp_path / "x.pt2").exists()
