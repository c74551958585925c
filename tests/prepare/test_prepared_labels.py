"""Several labels a video through scan, parts, merge, transcode, show and check, as users run them."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import made
from media import make_video
from scans import scan
from transcodes import transcode

from c2d_fast.errors import UserError
from c2d_fast.formats.label_sets import LabelSets
from c2d_fast.formats.manifest_file import FORMAT, read_manifest_file, read_narrow
from c2d_fast.lists.listing import read_list
from c2d_fast.manifest.manifest import read_manifest

LABELS = ("0,2", "1:0.25,0:0.5", "-1", "2", "0,1,2", "1")  # 4 is broken, 5 is missing


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for i in range(4):
        make_video(folder / f"{i}.mp4", num_frames=(12, 20)[i % 2], hue=i)
    (folder / "4.mp4").write_bytes(b"no video")
    (folder / "list.txt").write_text("".join(f"{i}.mp4 {label}\n" for i, label in enumerate(LABELS)))
    return folder / "list.txt"


@pytest.fixture(scope="module")
def scanned(videos, tmp_path_factory, run_command):
    out = tmp_path_factory.mktemp("scanned") / "m.npz"
    done = scan(run_command, videos, out, "--packets")
    assert done.returncode == 0, done.stderr
    assert "5 labels (some are shares), 1.25 a video; 1 videos have none" in done.stdout
    assert "3 classes have videos: most class 0 (2), fewest class 1 (1), 2.0 to 1" in done.stdout
    return out


def test_a_scan_keeps_all_labels(videos, scanned):
    listing, plain = read_list(scanned, videos.parent, 3), read_list(videos, None, 3)
    assert listing.label_sets == plain.label_sets
    assert tuple(listing.labels) == plain.labels == (0, 0, -1, 2, 0, 1)
    assert listing.num_classes == plain.num_classes == 3
    with np.load(scanned) as archive:
        assert str(archive["format"]) == FORMAT + "s"
    for manifest in (read_manifest_file(scanned), read_narrow(scanned)[0]):
        manifest.write(scanned.with_name("again.npz"))
        assert scanned.with_name("again.npz").read_bytes() == scanned.read_bytes()
    with pytest.raises(UserError, match="label 2 is out of range"):
        read_list(scanned, videos.parent, 2)
    ignored = read_list(scanned, videos.parent, 2, ignore=2)
    assert tuple(ignored.labels) == (0, 0, -1, -1, 0, 1)
    assert [ignored.label_text(i) for i in range(6)] == ["0", "1:0.25,0:0.5", "-1", "-1", "0,1", "1"]
    usable = [read_manifest(one, allow_missing=True, jobs=1) for one in (listing, plain)]
    assert [manifest.kept.tolist() for manifest in usable] == [[0, 1, 2, 3]] * 2
    assert usable[0].videos().label_sets == plain.label_sets.take(np.arange(4))
    assert usable[0].videos().digest == usable[1].videos().digest


@pytest.mark.parametrize("count", [2, 7])
def test_parts_are_joined_to_the_bytes_of_one_scan(videos, scanned, tmp_path, run_command, count):
    for number in range(1, count + 1):
        done = scan(run_command, videos, tmp_path / "m.npz", "--part", f"{number}/{count}", "--packets")
        assert done.returncode == 0, done.stderr
    done = run_command("prepare", "merge", "--out", tmp_path / "m.npz")
    assert done.returncode == 0, done.stderr
    for name in ("m.npz", "m.packets.npz"):
        assert (tmp_path / name).read_bytes() == (scanned.parent / name).read_bytes()
    # Parts of a manifest, too.
    assert (
        scan(run_command, tmp_path / "m.npz", tmp_path / "n.npz", "--part", "1/2", "--data-root", videos.parent).returncode == 0
    )
    part = read_manifest_file(tmp_path / "n.part-1-of-2.npz")
    assert part.label_sets == read_manifest_file(scanned).label_sets.take(part.part.rows)


def test_a_part_of_other_labels_is_not_joined(videos, scanned, tmp_path, run_command):
    for number in (1, 2):
        assert scan(run_command, videos, tmp_path / "m.npz", "--part", f"{number}/2").returncode == 0
    path = tmp_path / "m.part-2-of-2.npz"
    part = read_manifest_file(path)
    replace(part, label_sets=None, labels=np.maximum(part.labels, 0)).write(path)
    done = run_command("prepare", "merge", "--out", tmp_path / "m.npz")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "has other labels than" in done.stderr


def test_transcoded_they_are_the_same(videos, tmp_path, run_command):
    assert transcode(run_command, videos, tmp_path / "one", "--gop", 8).returncode == 0
    whole = read_list(tmp_path / "one" / "list.npz", None, 3)
    assert whole.label_sets == read_list(videos, None, 3).label_sets
    plain = read_list(tmp_path / "one" / "list.txt", None, 3)
    assert plain.label_sets == whole.label_sets.take(np.arange(4))
    for number in (1, 2):
        assert transcode(run_command, videos, tmp_path / "two", "--gop", 8, "--part", f"{number}/2").returncode == 0
    done = run_command("prepare", "merge", "--out", tmp_path / "two" / "list.npz")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two" / "list.txt").read_bytes() == (tmp_path / "one" / "list.txt").read_bytes()
    assert read_manifest_file(tmp_path / "two" / "list.npz").label_sets == whole.label_sets


def test_a_table_of_classes_keeps_its_columns_order(videos, tmp_path, run_command):
    (tmp_path / "list.csv").write_text("path,walk,run,jump\n0.mp4,1,0,0.5\n1.mp4,0,0,1\n2.mp4,,,\n")
    done = scan(run_command, tmp_path / "list.csv", tmp_path / "m.npz", "--data-root", videos.parent)
    assert done.returncode == 0, done.stderr
    assert "1 classes have no video that can be used: run" in done.stdout
    listing = read_list(tmp_path / "m.npz", None, 3)
    assert listing.classes == ("walk", "run", "jump")
    assert listing.label_sets == read_list(tmp_path / "list.csv", videos.parent, 3).label_sets
    mapped = read_list(tmp_path / "m.npz", None, 4, classes=("sit", "jump", "run", "walk"))
    assert [mapped.label_text(i) for i in range(3)] == ["3,1:0.5", "1", "-1"]
    with pytest.raises(UserError, match="has 3 class names, and the model 4 classes"):
        read_list(tmp_path / "m.npz", None, 4)
    shown = run_command("prepare", "show", tmp_path / "m.npz", "--csv", tmp_path / "m.csv", "--png", tmp_path / "m.png")
    assert shown.returncode == 0, shown.stderr
    with (tmp_path / "m.csv").open(newline="") as file:
        rows = [(row["label"], row["class"]) for row in csv.DictReader(file)]
    assert rows == [("0,2:0.5", "walk;jump"), ("2", "jump"), ("", "")]


def test_a_list_of_single_labels_with_none_is_scanned_and_read_again(videos, tmp_path, run_command):
    (tmp_path / "list.txt").write_text("0.mp4 1\n1.mp4 -1\n")
    for number in (1, 2):  # one of the parts has labels only
        flags = ["--data-root", videos.parent, "--part", f"{number}/2"]
        assert scan(run_command, tmp_path / "list.txt", tmp_path / "m.npz", *flags).returncode == 0
    assert run_command("prepare", "merge", "--out", tmp_path / "m.npz").returncode == 0
    assert scan(run_command, tmp_path / "list.txt", tmp_path / "n.npz", "--data-root", videos.parent).returncode == 0
    assert (tmp_path / "m.npz").read_bytes() == (tmp_path / "n.npz").read_bytes()
    listing = read_list(tmp_path / "m.npz", None, 2)
    assert tuple(listing.labels) == (1, -1)
    assert listing.label_sets == LabelSets.from_labels(np.array([1, -1]))
    (tmp_path / "none.txt").write_text("0.mp4 -1\n")
    done = scan(run_command, tmp_path / "none.txt", tmp_path / "none.npz", "--data-root", videos.parent)
    assert done.returncode == 0, done.stderr
    assert "no class has a video: none of the videos has a label" in done.stdout
    assert read_list(tmp_path / "none.npz", None, 2).label_text(0) == "-1"


@settings(max_examples=25)
@given(st.lists(st.dictionaries(st.integers(0, 5), st.floats(2**-20, 1, width=32), max_size=4), min_size=1, max_size=9))
def test_any_list_becomes_a_manifest_with_the_same_targets(tmp_path_factory, sets):
    folder = tmp_path_factory.mktemp("any")
    held = LabelSets.from_pairs(one.items() for one in [{0: 1.0, 1: 1.0}, *sets])
    (folder / "list.txt").write_text("".join(f"{i}.mp4 {held.text(i)}\n" for i in range(len(held))))
    listing = read_list(folder / "list.txt", None, 6)
    made(folder / "like.npz", len(held))
    like = read_manifest_file(folder / "like.npz")
    changes = {
        "labels": np.array(listing.labels, np.int64),
        "label_sets": listing.label_sets,
        "root": str(folder),
        "classes": None,
    }
    replace(like, **changes).write(folder / "m.npz")
    scanned, expected = read_list(folder / "m.npz", None, 6), np.zeros((len(held), 6), np.float32)
    for row, one in enumerate([{0: 1.0, 1: 1.0}, *sets]):
        expected[row, list(one)] = list(one.values())
    targets = scanned.label_sets.targets(np.arange(len(held)), 6)
    assert targets.tobytes() == expected.tobytes()
    assert tuple(scanned.labels) == listing.labels
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("column", "row", "value"),
    [("label_ends", 1, 1), ("label_ends", 5, 8), ("label_classes", 1, 0), ("label_classes", 0, -1),
     ("label_weights", 0, np.nan), ("label_weights", 0, 1.5), ("label_weights", 0, 0), ("labels", 0, 1)],
)  # fmt: skip
def test_labels_that_no_scan_writes_are_refused(scanned, tmp_path, column, row, value):
    with np.load(scanned) as archive:
        columns = dict(archive)
    columns[column][row] = value
    np.savez_compressed(tmp_path / "m.npz", **columns)
    with pytest.raises(UserError, match="columns do not fit each other; make it again"):
        read_manifest_file(tmp_path / "m.npz")


def test_a_manifest_lacks_none_of_the_columns_of_its_form(scanned, tmp_path):
    with np.load(scanned) as archive:
        columns = dict(archive)
    del columns["label_weights"]
    np.savez_compressed(tmp_path / "m.npz", **columns)
    with pytest.raises(UserError, match="is not a manifest that can be read"):
        read_manifest_file(tmp_path / "m.npz")


def test_copies_with_other_labels_are_told(videos, tmp_path, run_command):
    pytest.importorskip("imagehash")
    for name, labels in (("train", ("0,2", "1,2", "0")), ("val", ("2,0", "1", "0"))):
        (tmp_path / f"{name}.txt").write_text(
            "".join(f"{i}.mp4 {label}\n" for i, label in enumerate(labels[: 2 + (name == "train")]))
        )
        done = scan(run_command, tmp_path / f"{name}.txt", tmp_path / f"{name}.npz", "--data-root", videos.parent, "--packets")
        assert done.returncode == 0, done.stderr
    words = ["--train", tmp_path / "train.npz", "--val", tmp_path / "val.npz", "--csv", tmp_path / "pairs.csv"]
    done = run_command("prepare", "check", *words, "--write-train", tmp_path / "clean.txt", "--no-near")
    assert "1 of these pairs have different labels" in done.stdout, done.stderr
    assert "(labels 1,2 and 1)" in done.stdout
    with (tmp_path / "pairs.csv").open(newline="") as file:
        assert [row["same_label"] for row in csv.DictReader(file) if row["path_a"] == row["path_b"]] == ["1", "0"]
    assert Path(tmp_path / "clean.txt").read_text() == "2.mp4 0\n"
