import hashlib
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from c2d_fast.errors import UserError
from c2d_fast.lists.listing import read_list
from c2d_fast.prepare import demo_data
from c2d_fast.prepare.demo_data import CLASSES, OBJECTS, VIDEOS_PER_CLASS, make_demo_data, video_frames
from c2d_fast.video.examine import examine


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(demo_data, "VIDEOS_PER_CLASS", {"train": 2, "val": 1})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of few data, and what was said when they were made."""
    folder = tmp_path_factory.mktemp("made") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_data, "VIDEOS_PER_CLASS", {"train": 2, "val": 1})
        return folder, make_demo_data(folder)


def test_is_what_the_recipe_needs():
    assert len(CLASSES) == len(set(CLASSES)) == 8
    assert VIDEOS_PER_CLASS["train"] >= 20
    assert VIDEOS_PER_CLASS["val"] >= 8
    for place in (0, 1):  # neither texture nor shape alone tells the class
        values = [entry[place] for entry in OBJECTS]
        assert all(values.count(value) == 2 for value in values)


def test_makes_h264_with_b_frames_once(made, few):
    folder, said = made
    assert "made now" in said
    train, val = (read_list(folder / f"{split}.txt", None, 8) for split in ("train", "val"))
    assert (len(train), len(val)) == (16, 8)
    assert (folder / "labels.txt").read_text().splitlines() == list(CLASSES)
    assert any(" " in video for video in train.videos)
    kinds = set()
    for i in range(len(train)):
        info = examine(train.file(i)).facts
        assert info.codec == "h264"
        kinds.add((info.frames, info.width, info.height))
        with av.open(str(train.file(i))) as container:
            assert PictureType.B in {PictureType(frame.pict_type) for frame in container.decode(video=0)}
    assert len(kinds) > 8
    before = train.file(3).stat().st_mtime_ns
    assert "made before" in make_demo_data(folder)
    assert train.file(3).stat().st_mtime_ns == before


def test_is_the_same_every_time(tmp_path, made, few):
    digests = []
    make_demo_data(tmp_path / "again")
    for folder in (made[0], tmp_path / "again"):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
    assert digests[0] == digests[1]


def test_no_pixel_s_colour_tells_the_class():
    """A classifier on mean colours of small patches of single frames stays near chance."""
    features, labels = [], []
    for split, count in (("train", 20), ("val", 8)):
        for label in range(8):
            for number in range(count):
                frame = next(iter(video_frames(split, label, number))).astype(np.float32)
                rows, columns = np.array_split(frame, 4, 0), 4
                patches = [p.mean((0, 1)) for row in rows for p in np.array_split(row, columns, 1)]
                features.append(np.concatenate(patches) / 255)
                labels.append((split, label))
    x, is_train = np.stack(features), np.array([split == "train" for split, _ in labels])
    y = np.array([label for _, label in labels])
    x = np.c_[x, np.ones(len(x))]
    weights = np.linalg.lstsq(x[is_train].T @ x[is_train] + np.eye(x.shape[1]), x[is_train].T @ np.eye(8)[y[is_train]])[0]
    accuracy = ((x[~is_train] @ weights).argmax(1) == y[~is_train]).mean()
    assert accuracy < 0.35


def test_leaves_what_it_did_not_make_alone(tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something other"):
        make_demo_data(tmp_path / "demo")
    assert (tmp_path / "demo" / "thesis.txt").read_text() == "mine"
    with pytest.raises(UserError, match="cannot be made"):
        make_demo_data(Path("/dev/null/demo"))


def test_an_interrupted_making_is_begun_again(tmp_path, few, monkeypatch):
    write = demo_data._write_video
    monkeypatch.setattr(demo_data, "_write_video", lambda job: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make_demo_data(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()
    monkeypatch.setattr(demo_data, "_write_video", write)
    assert "made now" in make_demo_data(tmp_path / "demo")
