"""`prepare list`: from what users have on disk to lists that the other commands read."""

import os
from collections import Counter

import pytest

from c2d_fast.lists.label_map import read_label_map
from c2d_fast.lists.listing import read_list

NAMES = (
    "a b.mp4",
    " leading.mp4",
    '"quoted".mp4',
    "it's.mp4",
    "'til 3.mp4",
    "a,b 1.mp4",
    "ünï—東京 🎾.mp4",
    "$(touch ran);`x`.mp4",
)


def make(folder, classes, names):
    for name in classes:
        (folder / name).mkdir(parents=True)
        for video in names:
            (folder / name / video).touch()
    return folder


def lists(tmp_path, *names):
    labels = read_label_map(tmp_path / "out/labels.txt")
    return [read_list(tmp_path / f"out/{name}.txt", tmp_path, len(labels), classes=labels) for name in names], labels


def test_folders_with_names_of_every_kind(tmp_path, run_command):
    make(tmp_path / "train", ("tai chi", "b_c"), NAMES)
    make(tmp_path / "val", ("tai_chi",), NAMES[:2])
    (tmp_path / "train/b_c/notes.txt").touch()
    command = ["list", "--train", tmp_path / "train", "--val", tmp_path / "val", "--out", tmp_path / "out"]
    done = run_command("prepare", *command)
    assert done.returncode == 0, done.stderr
    (train, val), labels = lists(tmp_path, "train", "val")
    assert labels == ("b_c", "tai chi")
    assert {train.file(i) for i in range(len(train))} == set((tmp_path / "train").rglob("*.mp4"))
    assert all(label == ("tai chi" in video) for video, label in zip(train.videos, train.labels, strict=True))
    assert [(val.file(i).name, val.labels[i]) for i in range(2)] == [(" leading.mp4", 1), ("a b.mp4", 1)]
    assert "train.txt, 16 videos of 2 classes" in done.stdout
    assert f"to train: --data-root {tmp_path} --train-list {tmp_path / 'out/train.txt'}" in done.stdout
    assert not (tmp_path / "out/missing.txt").exists()
    before = (tmp_path / "out/train.txt").read_bytes()
    assert run_command("prepare", *command).returncode == 0  # again: the same
    assert (tmp_path / "out/train.txt").read_bytes() == before


def test_names_that_no_line_can_hold_are_left_out_by_name(tmp_path, run_command):
    make(tmp_path / "v", ("a", "b"), ("x.mp4",))
    (tmp_path / "v/a/two\nlines.mp4").touch()
    open(os.fsencode(tmp_path / "v/b") + b"/\xff.mp4", "w").close()
    done = run_command("prepare", "list", "--train", tmp_path / "v", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "left out of train, a line cannot hold their names: 2, first 'a/two\\nlines.mp4'" in done.stdout
    assert (tmp_path / "out/train.txt").read_text() == "a/x.mp4 0\nb/x.mp4 1\n"


def test_kinetics_csv_reports_what_is_missing(tmp_path, run_command):
    lines = ["label,youtube_id,time_start,time_end,split"]
    for i in range(30):
        lines.append(f'"{("tai chi", "playing squash")[i % 2]}",-id{i},7,17,train')
    (tmp_path / "train.csv").write_text("\r\n".join(lines))
    make(tmp_path / "videos", ("tai_chi", "playing squash"), ())
    for i in range(18):
        folder = ("tai_chi", "playing squash")[i % 2]
        (tmp_path / f"videos/{folder}/-id{i}_000007_000017.mp4").touch()
    (tmp_path / "map.txt").write_text("tai chi\nplaying squash\n")
    args = ["--data-root", tmp_path / "videos", "--label-map", tmp_path / "map.txt", "--out", tmp_path / "out"]
    done = run_command("prepare", "list", "--train", tmp_path / "train.csv", *args)
    assert done.returncode == 0, done.stderr
    assert "missing: 12 videos" in done.stdout
    assert len((tmp_path / "out/missing.txt").read_text().splitlines()) == 12
    listing = read_list(tmp_path / "out/train.txt", tmp_path / "videos", 2)
    assert len(listing) == 18
    assert all(listing.file(i).is_file() for i in range(18))
    assert listing.labels[:2] == (0, 1)


@pytest.mark.parametrize("percent", [1, 25, 99])
def test_a_share_of_every_class_is_set_aside(tmp_path, run_command, percent):
    make(tmp_path / "v", ("a", "b", "c"), [f"{i}.mp4" for i in range(12)])
    (tmp_path / "v/d").mkdir()
    (tmp_path / "v/d/only.mp4").touch()
    for _ in range(2):
        done = run_command("prepare", "list", "--train", tmp_path / "v", "--val-percent", percent, "--out", tmp_path / "out")
        assert done.returncode == 0, done.stderr
    train, val = (read_list(tmp_path / f"out/{name}.txt", tmp_path / "v", 4) for name in ("train", "val"))
    assert len(train) + len(val) == len(set(train.videos) | set(val.videos)) == 37
    each = {1: 1, 25: 3, 99: 11}[percent]
    assert Counter(val.labels) == {0: each, 1: each, 2: each}
    assert 3 in train.labels


@pytest.mark.parametrize("names", [("0", "2", "10"), ("1 on 1", "2 on 2", "3 on 3"), ("shot 1", "shot 2"), ("'t", 'a "b"')])
def test_odd_class_names_are_read_back_as_they_were(tmp_path, run_command, names):
    make(tmp_path / "v", names, ("x.mp4",))
    done = run_command("prepare", "list", "--train", tmp_path / "v", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert read_label_map(tmp_path / "out/labels.txt") == names
    listing = read_list(tmp_path / "out/train.txt", tmp_path / "v", len(names))
    assert [names[label] for label in listing.labels] == [video.split("/")[0] for video in listing.videos]


def test_wrong_arguments(tmp_path, run_command):
    make(tmp_path / "v", ("a", "b"), ("x.mp4",))
    make(tmp_path / "w", ("c",), ("x.mp4",))
    (tmp_path / "list.txt").write_text("x.mp4 0\n")
    (tmp_path / "t.csv").write_text("label,youtube_id,time_start,time_end\na,x,0,10\n")
    (tmp_path / "file").touch()
    folder, out = ["--train", tmp_path / "v"], ["--out", tmp_path / "out"]
    for args, part in (
        ([*folder, "--val", tmp_path / "w", *out], "class 'c' is not among the 2"),
        ([*folder, "--val", tmp_path / "w", "--val-percent", 5, *out], "give one of them"),
        ([*folder, "--val-percent", 100, *out], "argument --val-percent"),
        ([*folder, "--out", tmp_path / "file"], "cannot be made"),
        (["--train", tmp_path / "list.txt", *out], "is a list already"),
        (["--train", tmp_path / "none", *out], "cannot be read"),
        (["--train", make(tmp_path / "s", ("train/a", "val/a"), ("x.mp4",)), *out], "its folders are splits"),
        (["--train", tmp_path / "t.csv", *out], "none of its 1 videos is below"),
    ):
        done = run_command("prepare", "list", *args)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert part in done.stderr
    assert not (tmp_path / "out").exists()


def test_kinetics_files_of_any_container_are_found(tmp_path, run_command):
    names = [f"id{i}_000000_000010.{suffix}" for i, suffix in enumerate(("mkv", "webm", "avi", "mp4"))]
    make(tmp_path / "videos", ("tai_chi",), names[:2])
    for name in names[2:]:
        (tmp_path / "videos" / name).touch()
    lines = [f"tai chi,id{i},0,10\n" for i in range(5)]
    (tmp_path / "t.csv").write_text("label,youtube_id,time_start,time_end\n" + "".join(lines))
    done = run_command(
        "prepare", "list", "--train", tmp_path / "t.csv", "--data-root", tmp_path / "videos", "--out", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    assert "missing: 1 videos" in done.stdout
    listing = read_list(tmp_path / "out/train.txt", tmp_path / "videos", 1)
    assert [video.rpartition("/")[2] for video in listing.videos] == names
    assert all(listing.file(i).is_file() for i in range(4))
