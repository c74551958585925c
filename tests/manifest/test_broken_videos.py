"""Broken videos in whole runs: named, replaced and bounded in training, never replaced in a score."""

import json
import os

import pytest
from media import make_dataset, make_video, spoil
from runs import (
    batches,
    flags,
    last,
    one_line,
    train,
)

from c2d_fast.errors import UserError


def _damaged(path):
    spoil(path, keep=path.stat().st_size // 2)


BROKEN = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 3),
    "empty": lambda path: os.truncate(path, 0),
    "text": lambda path: path.write_text("no video\n"),
    "other codec": lambda path: path.write_bytes(b"\x1aE\xdf\xa3" + bytes(500)),
    "damaged": _damaged,
    "missing": lambda path: path.unlink(),
}


QUICK = {("truncated", "before"), ("damaged", "while it runs")}
CASES = [
    pytest.param(kind, when, marks=() if (kind, when) in QUICK else pytest.mark.slow)
    for kind in BROKEN
    for when in ("before", "while it runs")
]


@pytest.mark.parametrize(("kind", "when"), CASES)
def test_broken_training_videos_are_named_replaced_and_bounded(tmp_path, monkeypatch, capsys, kind, when):
    data = make_dataset(tmp_path / "data", count=8, num_frames=(20,))
    good = tmp_path / "data" / "good.txt"
    good.write_text("".join(data.read_text().splitlines(keepends=True)[4:]))
    victim = data.parent / "some videos/clip 2.mp4"
    words = [
        word if word != str(data) else str(data if i == 3 else good) for i, word in enumerate(flags(data, tmp_path / "run"))
    ]
    more = ["--allow-missing"] if kind == "missing" else []

    def break_it(step, number):
        if number == 1 and not broken:
            BROKEN[kind](victim)
            broken.append(victim)

    broken = []
    if when == "before":
        break_it(None, 1)
        if kind == "missing":
            with pytest.raises(UserError, match=r"clip 2.mp4.*--allow-missing"):
                train(*words, monkeypatch=monkeypatch)
        elif kind != "damaged":  # which shows only when it is decoded: a scan or the run finds it
            with pytest.raises(UserError, match=r"1 of the 8 videos .*clip 2.mp4.*limit is 1%"):
                train(*words, monkeypatch=monkeypatch)
    assert train(*words, "--max-bad-videos", 1, "--epochs", 3, *more, monkeypatch=monkeypatch, before_step=break_it) == 0
    assert "clip 2.mp4" in capsys.readouterr().out
    quarantine = tmp_path / "run" / "quarantine.jsonl"
    if when == "while it runs":
        (entry,) = [json.loads(line) for line in quarantine.read_text().splitlines()[1:]]
        assert (entry["path"], entry["list"]) == ("some videos/clip 2.mp4", "train")
        assert entry.get("unread", False) == (kind == "missing")  # which is no fault of the video
        assert all(
            "clip 2" not in "".join(videos) for (epoch, *_), (videos, _) in batches(tmp_path / "run").items() if epoch == 3
        )
        # Resumed it is known from the start, and counts.
        assert (
            train(*words, "--max-bad-videos", 1, "--epochs", 4, "--resume", "auto", "--allow-missing", monkeypatch=monkeypatch)
            == 0
        )
        assert len(quarantine.read_text().splitlines()) == 2
        assert last(tmp_path / "run")["left_out_rows"] == []  # it keeps its place in the order


@pytest.mark.parametrize("kind", [pytest.param(k, marks=() if k == "damaged" else pytest.mark.slow) for k in BROKEN])
def test_broken_videos_are_never_replaced_when_scoring(whole_run, tmp_path, run_command, kind):
    data = make_dataset(tmp_path / "data", count=4, num_frames=(20,))
    score = ["test", "--pipe", "tests/tiny_pipe.py", "--checkpoint", whole_run / "best.pt", "--list", data, "--views", "1x1"]
    assert run_command(*score).returncode == 0  # the files are known as good ones now
    BROKEN[kind](data.parent / "some videos/clip 2.mp4")
    one_line(run_command(*score), 2, "clip 2.mp4", "--allow-missing")
    done = run_command(*score, "--allow-missing")
    assert done.returncode == 0, done.stderr
    assert "3 of 4 videos" in done.stdout.splitlines()[-1]


def test_a_validation_video_that_breaks_costs_no_epoch_but_the_exit_code(tmp_path, monkeypatch, capsys):
    data = make_dataset(tmp_path / "data", count=8, num_frames=(20,))
    val = tmp_path / "val.txt"
    victim = make_video(tmp_path / "data" / "val.mp4", num_frames=20)
    val.write_text(data.read_text() + "val.mp4 1\n")
    words = flags(data, tmp_path / "run", "--val-root", data.parent)
    words[5] = str(val)
    with pytest.raises(UserError, match=r"1 of the 9 videos of .*val.txt broke .*val.mp4 .*--allow-missing"):
        train(*words, monkeypatch=monkeypatch, before_step=lambda step, number: spoil(victim) if number == 1 else None)
    assert "8 of 9 videos" in capsys.readouterr().out
    assert last(tmp_path / "run")["progress"]["epoch"] == 2


def test_all_broken(tmp_path, monkeypatch):
    data = make_dataset(tmp_path / "data", count=4, num_frames=(20,))
    words = [*flags(data, tmp_path / "run", "--max-bad-videos", "100%"), "--allow-missing"]

    def break_all(step, number):
        for path in (data.parent / "some videos").iterdir() if number == 1 else ():
            spoil(path)

    with pytest.raises(UserError, match="no video is left that decodes"):
        train(*words, "--epochs", 9, monkeypatch=monkeypatch, before_step=break_all)
    lines = (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()
    assert {json.loads(line)["path"] for line in lines[1:]} == {f"some videos/clip {i}.mp4" for i in range(4)}
    for path in (data.parent / "some videos").iterdir():
        path.write_text("no video")
    with pytest.raises(UserError, match=r"4 of the 4 videos .* none is left"):
        train(*flags(data, tmp_path / "other", "--max-bad-videos", "100%"), monkeypatch=monkeypatch)
