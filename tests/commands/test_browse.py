"""What the model is really fed, through the browse command: real processes, real files."""

import re

import numpy as np
import pytest
import torch
from media import decode_all, make_dataset
from PIL import Image
from torch.nn import functional as F

from c2d_fast.browse import parse
from c2d_fast.commands.run_browse import _lines, run_browse
from c2d_fast.errors import UserError
from c2d_fast.lists.listing import Listing
from c2d_fast.loading import sampler
from c2d_fast.loading.plan import EvalPlan, TrainPlan
from c2d_fast.manifest.videos import Videos
from c2d_fast.recipe import load_pipe

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


@pytest.mark.parametrize(("split", "clips"), [("train", 7), ("val", 7), ("test", 30)])
def test_pictures_show_the_clips_that_are_fed(tmp_path, run_command, split, clips):
    path = make_dataset(tmp_path, count=7, num_frames=(20,))
    args = ["--pipe", DEMO, "--num-classes", 2, "--list", path, "--split", split]
    outputs = ["--png", tmp_path / "x.png", "--mp4", tmp_path / "x.mp4"]
    data = browse(run_command, tmp_path, *args, *outputs)
    assert len(data["clips"]) == clips  # the pictures' number of videos holds for all
    sheet = np.asarray(Image.open(tmp_path / "x.png"))
    frames = decode_all(tmp_path / "x.mp4")
    assert len(frames) == 24
    assert np.abs(frames[0].astype(int) - frames[2]).mean() < 3 < np.abs(frames[0].astype(int) - frames[1]).mean()
    colours = sheet.astype(np.uint32) @ np.array([1, 2**8, 2**16], np.uint32)
    for clip in data["clips"]:  # each is there, as large as it is drawn
        strip = np.asarray(Image.fromarray(clip[0]).resize((112, 112), Image.Resampling.BILINEAR))
        rows, columns = np.nonzero(colours[:-111, :-111] == strip[0, 0].astype(np.uint32) @ [1, 2**8, 2**16])
        for y, x in ((111, 111), (56, 56), (20, 90), (90, 20)):  # the numbers' flat colours begin in many places
            maybe = (sheet[rows + y, columns + x] == strip[y, x]).all(1)
            rows, columns = rows[maybe], columns[maybe]
        assert any((sheet[y : y + 112, x : x + 112] == strip).all() for y, x in zip(rows, columns, strict=True))


def test_captions_state_frames_box_and_mirror(tmp_path):
    columns = {"num_frames": 100, "width": 340, "height": 256, "labels": 1, "size": 1, "mtime_ns": -1, "path_ends": 0}
    columns = {name: np.array([value]) for name, value in columns.items()}
    videos = Videos(root="", paths=np.zeros(0, np.uint8), stored=np.zeros(1), **columns)
    recipe = load_pipe(K400).recipe
    plan = TrainPlan(videos=videos, clip=recipe.clip, crop=recipe.crop, seed=3, batch_size=1)
    listing = Listing(tmp_path, tmp_path, ("a.mp4",), (1,), (1,), "", ("nothing", "something"))
    facts = {"path": "a.mp4", "label": 1, "planned": 0, "view": 0}
    mirrored = 0
    for epoch in range(20):
        sample = plan.sample(epoch, 0)
        name, path, frames, box = (text for text, _ in _lines(plan, facts, listing, epoch))
        assert (name, path) == ("something", "a.mp4")
        assert frames == f"frames {sample.frames[0]} to {sample.frames[-1]}, 8 apart"
        width, height, x, y = map(int, re.findall(r"\d+", box)[:4])
        assert np.allclose(np.array([x, y, x + width, y + height]) / [340, 256, 340, 256], sample.boxes[0], atol=0.01)
        assert box.endswith(", mirrored") == sample.flip
        mirrored += sample.flip
    assert 0 < mirrored < 20
    views = EvalPlan(videos=videos, clip=recipe.clip, crop=recipe.crop, batch_size=1, num_clips=10)
    texts = [_lines(views, facts | {"view": view}, listing, 0)[2][0] for view in range(30)]
    assert texts[13].startswith("clip 4, crop 2, frames ")
    assert [sample.frames.tolist() for sample in views.views(0)] == 3 * sampler.test_frames(100, 8, 8, 10).tolist()


def test_many_clips_go_on_several_sheets(tmp_path, run_command):
    path = make_dataset(tmp_path, count=31, num_frames=(20,))
    path = path.rename(tmp_path / "a list\nof two lines.txt")
    done = run_command("browse", "--pipe", DEMO, "--num-classes", 2, "--list", path, "--limit", 31, "--png", tmp_path / "x.png")
    assert done.returncode == 0, done.stderr
    heights = [Image.open(tmp_path / name).height for name in ("x.png", "x-2.png")]
    assert heights[0] > 3 * heights[1]


def test_wrong_arguments(tmp_path, run_command):
    path = make_dataset(tmp_path, count=1, num_frames=(20,))
    video = path.parent / path.read_text().splitlines()[0].rsplit(maxsplit=1)[0]
    before = video.read_bytes()
    for args, part in (
        (["--list", path, "--npz", tmp_path / "none" / "x.npz"], "its folder does not exist"),
        (["--list", path, "--npz", tmp_path], "is a folder; give the name of a file"),
        (["--list", path, "--npz", tmp_path / "x.npz", "--split", "all"], "invalid choice: 'all'"),
        (["--list", tmp_path / "none.txt", "--npz", tmp_path / "x.npz"], "cannot be read"),
        (["--data-root", tmp_path, "--npz", tmp_path / "x.npz"], "--list is missing"),
        (["--list", path], "give --png FILE, --mp4 FILE or --npz FILE"),
        (["--list", path, "--png", tmp_path / "x.jpg"], "must end in .png"),
        (["--list", path, "--mp4", tmp_path / "x.avi"], "must end in .mp4"),
        (["--list", path, "--npz", path], "must end in .npz"),
        (["--list", path, "--mp4", video, "--num-classes", 2], "which is only read"),
        (["--list", path, "--png", tmp_path / "x.png", "--split", "val", "--seed", 1], "is of the training split"),
    ):
        with pytest.raises(UserError) as refused:
            run_browse(parse(["--pipe", DEMO, *map(str, args)]))
        assert part in str(refused.value)
    done = run_command("browse", "--pipe", DEMO, "--list", path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert video.read_bytes() == before
