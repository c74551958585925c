"""What the model is really fed, through the browse command: real processes, real files."""

import numpy as np
import pytest
import torch
from media import decode_all, make_dataset
from torch.nn import functional as F

from c2d_fast import sampler

DEMO, K400 = "dali_pipes/demo.py", "dali_pipes/k400_8x8.py"


def browse(run_command, tmp_path, *args):
    done = run_command("browse", *args, "--npz", tmp_path / "x.npz")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    with np.load(tmp_path / "x.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "list.txt"
    path.write_text("arm_wrestling.mp4 3\nclip_300.mp4 1\nmpeg4_164.avi 399\n")
    return ["--data-root", shared / "videos", "--list", path]


def test_the_validation_clip_is_the_reference_s(real, shared, tmp_path, run_command):
    data = browse(run_command, tmp_path, "--pipe", K400, *real, "--split", "val")
    assert data["path"].tolist() == ["arm_wrestling.mp4", "clip_300.mp4", "mpeg4_164.avi"]
    assert data["label"].tolist() == [3, 1, 399]
    assert data["index"].tolist() == [0, 1, 2]
    assert data["view"].tolist() == [0, 0, 0]
    assert (data["clips"].shape, data["clips"].dtype) == ((3, 8, 224, 224, 3), np.uint8)
    golden = np.load(shared / "golden" / "clip_300_val.npz")["clip"]  # [C, T, H, W]
    difference = np.abs(data["clips"][1].transpose(3, 0, 1, 2).astype(int) - golden)
    assert difference.mean() <= 0.5
    assert difference.max() <= 4


def test_test_views_are_bilinear_resizes_in_the_published_order(real, shared, tmp_path, run_command):
    data = browse(run_command, tmp_path, "--pipe", K400, *real, "--split", "test")
    assert data["view"].tolist() == 3 * list(range(30))
    assert data["index"].tolist() == [0] * 30 + [1] * 30 + [2] * 30
    for index, name in enumerate(("arm_wrestling.mp4", "clip_300.mp4", "mpeg4_164.avi")):
        frames = decode_all(shared / "videos" / name)
        width, height = sampler.scaled_size(frames.shape[2], frames.shape[1], 224)
        wanted = np.unique(sampler.test_frames(len(frames), 8, 8, 10))
        # The whole frame is resized, rounded, then cropped: half-pixel centres, no antialiasing, as OpenCV's INTER_LINEAR.
        images = torch.from_numpy(frames[wanted]).permute(0, 3, 1, 2).float()
        resized = F.interpolate(images, (height, width), mode="bilinear", align_corners=False, antialias=False).round()
        resized = resized.permute(0, 2, 3, 1).numpy()
        views = data["clips"][30 * index : 30 * index + 30].astype(np.float32)
        for crop, (x0, y0, x1, y1) in enumerate(sampler.three_boxes(width, height)):
            for clip, numbers in enumerate(sampler.test_frames(len(frames), 8, 8, 10)):
                expected = resized[np.searchsorted(wanted, numbers), y0:y1, x0:x1]
                assert np.abs(views[10 * crop + clip] - expected).mean() <= 0.5


def test_training_clips_are_those_of_an_epoch(tmp_path, run_command):
    path = make_dataset(tmp_path, count=7, num_frames=(20,))
    args = ["--pipe", DEMO, "--num-classes", 2, "--list", path]
    first = browse(run_command, tmp_path, *args)
    assert sorted(first["index"]) == list(range(7))  # none is left out
    assert [line.rsplit(maxsplit=1)[0] for line in path.read_text().splitlines()] == first["path"][
        np.argsort(first["index"])
    ].tolist()
    assert (first["label"] == first["index"] % 2).all()
    assert first["clips"].shape == (7, 2, 56, 56, 3)
    again, second = browse(run_command, tmp_path, *args), browse(run_command, tmp_path, *args, "--epoch", 2)
    assert (again["clips"] == first["clips"]).all()
    assert second["index"].tolist() != first["index"].tolist() or (second["clips"] != first["clips"]).any()
    few = browse(run_command, tmp_path, *args, "--limit", 3)
    assert (few["clips"] == first["clips"][:3]).all()
    assert str(few["list_sha256"]) == str(first["list_sha256"])
    assert (first["list_videos"], first["list_classes"]) == (7, 2)


def test_index_is_the_place_in_the_list_also_when_videos_are_missing(tmp_path, run_command):
    path = make_dataset(tmp_path, count=4, num_frames=(20,))
    (tmp_path / "some videos/clip 1.mp4").unlink()
    args = ["--pipe", DEMO, "--num-classes", 2, "--list", path, "--split", "test", "--limit", 2]
    data = browse(run_command, tmp_path, *args, "--allow-missing")
    assert data["index"].tolist() == [0] * 30 + [2] * 30
    assert set(data["path"][30:]) == {"some videos/clip 2.mp4"}


def test_wrong_arguments(tmp_path, run_command):
    path = make_dataset(tmp_path, count=1, num_frames=(20,))
    for args, part in (
        (["--list", path, "--npz", tmp_path / "none" / "x.npz"], "its folder does not exist"),
        (["--list", path, "--npz", tmp_path], "is a folder; give the name of a file"),
        (["--list", path, "--npz", tmp_path / "x.npz", "--split", "all"], "invalid choice: 'all'"),
        (["--list", tmp_path / "none.txt", "--npz", tmp_path / "x.npz"], "cannot be read"),
        (["--data-root", tmp_path, "--npz", tmp_path / "x.npz"], "--list is missing"),
    ):
        done = run_command("browse", "--pipe", DEMO, *args)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert part in done.stderr
