"""predict --explain: something planted is where the maps are hottest."""

import sys
import zipfile

import numpy as np
import pytest
import torch
from media import decode_all, make_video
from PIL import Image
from planted import SQUARE_PX, write_model, write_planted

from c2d_fast.commands import run_explain
from c2d_fast.commands.run_predict import run_predict
from c2d_fast.errors import UserError
from c2d_fast.predict import parse

WHEN = range(18, 24)


@pytest.fixture(scope="module", params=[True, False], ids=["pooled", "unpooled"])
def model(request, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), temporal_pool=request.param)[0]


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("pooled"), temporal_pool=True)


def predict(*words):
    run_predict(parse([*map(str, words), "--quiet"]))


def warmth(picture):
    """How much redder than blue each pixel of what was a grey picture is."""
    return picture[..., 0].astype(int) - picture[..., 2]


def hottest(picture):
    warm = warmth(picture)
    y, x = np.nonzero(warm > warm.max() - 8)
    return x.mean(), y.mean()


PLACES = {  # name -> size, the square's corner, whether pictures are stored turned
    "wide": ((240, 176), (120, 90), False),
    "wide, at the left of the crop": ((240, 176), (44, 10), False),
    "tall": ((176, 304), (14, 150), False),
    "turned": ((176, 240), (100, 60), True),
    "larger": ((400, 300), (210, 120), False),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_hottest_place_is_where_something_was_planted(model, place, tmp_path):
    size, corner, quarter_turn = PLACES[place]
    video = write_planted(tmp_path / "v.mp4", size, corner, WHEN, quarter_turn=quarter_turn)
    predict(video, *model, "--explain", tmp_path / "out.mp4")
    written = decode_all(tmp_path / "out.mp4")
    first = 40 // 2 - 8  # the one view's frames: 12, 14, ... 26 of 40
    assert written.shape == (15, size[1], size[0], 3)
    hot = {first + k for k, picture in enumerate(written) if warmth(picture).max() > 120}
    assert set(WHEN) <= hot
    assert hot <= set(range(WHEN[0] - 3, WHEN[-1] + 4))  # with temporal pool two frames have one map, those between the nearest
    x, y = hottest(written[20 - first])
    assert corner[0] <= x < corner[0] + SQUARE_PX
    assert corner[1] <= y < corner[1] + SQUARE_PX


@pytest.mark.parametrize("across", [True, False], ids=["wide", "tall"])
def test_the_best_view_is_the_one_that_shows_it(model, across, tmp_path):
    size, corner = ((320, 160), (4, 60)) if across else ((160, 320), (60, 4))
    video = write_planted(tmp_path / "v.mp4", size, corner, range(70, 80), num_frames=90)
    predict(video, *model, "--explain", tmp_path / "out.mp4", "--views", "10x3", "--explain-class", "class 1")
    written = decode_all(tmp_path / "out.mp4")
    assert written.shape[1:3] == size[::-1]
    x, y = hottest(max(written, key=lambda picture: warmth(picture).max()))
    assert corner[0] <= x < corner[0] + SQUARE_PX
    assert corner[1] <= y < corner[1] + SQUARE_PX
    unseen = written[:, :, 170:] if across else written[:, 170:]
    assert np.abs(unseen.astype(int) - 20).max() < 6  # half as light: the first of the three crops does not have it


def test_the_view_is_read_again_as_it_was_scored(pooled, tmp_path, monkeypatch):
    video, seen, probabilities = write_planted(tmp_path / "v.mp4", (300, 208), (120, 90), WHEN), [], []
    best, maps = run_explain.SeenViews.best, run_explain.class_maps

    def best_and_noted(self, index, label):
        found = best(self, index, label)
        seen.append(found[1])
        return found

    def maps_and_noted(network, clip, label):
        with torch.no_grad():
            probabilities.append(float(network.eval()(clip).softmax(1)[0, label]))
        return maps(network, clip, label)

    monkeypatch.setattr(run_explain.SeenViews, "best", best_and_noted)
    monkeypatch.setattr(run_explain, "class_maps", maps_and_noted)
    predict(video, *pooled[0], "--explain", tmp_path / "out.png", "--views", "10x3", "--explain-class", "0")
    assert probabilities == pytest.approx(seen, abs=1e-6)


def test_as_users_run_it(pooled, tmp_path, run_command):
    words, env = pooled
    wide = write_planted(tmp_path / "wide.mp4", (240, 176), (120, 90), WHEN)
    short = write_planted(tmp_path / "short.mp4", (176, 176), (60, 60), range(2), num_frames=4)
    (tmp_path / "out").mkdir()
    done = run_command("predict", wide, short, *words, "--explain", tmp_path / "out", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["short.mp4", "short.png", "wide.mp4", "wide.png"]
    assert f"written: {tmp_path}/out/wide.png: class 1 (100 % in view 1 of 1, frames 12 to 26)" in done.stdout
    with Image.open(tmp_path / "out" / "wide.png") as sheet:
        assert sheet.width > 1200
        assert sheet.height > 2 * run_explain.SHEET_PX
    assert len(decode_all(tmp_path / "out" / "short.mp4")) == 3  # frames 0, 2, 0, 2, ...: it loops


def test_wrong_arguments(pooled, tmp_path, monkeypatch):
    words = pooled[0]
    video = write_planted(tmp_path / "v.mp4", (176, 176), (60, 60), WHEN)
    other = tmp_path / "v.mkv"
    other.write_bytes(video.read_bytes())
    for more, part in (
        (["--explain", tmp_path / "x.avi"], "--explain {}/x.avi: must end in .mp4, .png, or be a folder that exists"),
        (["--explain", video], "which is only read"),
        (["--explain", tmp_path / "none" / "x.png"], "its folder does not exist"),
        (["--explain", tmp_path / "x.mp4", "--overlay", tmp_path / "x.mp4"], "is the file of --overlay, too"),
        (["--explain", tmp_path / "x.mp4", "--segments", tmp_path / "x.csv"], "is of whole videos, and not of --segments"),
        (
            ["--explain", tmp_path / "x.png", "--explain-class", "2"],
            "--explain-class 2: is no class of the model; give a label, 0 to 1",
        ),
        (["--explain-class", "1"], "--explain-class: is of --explain, which is missing"),
    ):
        with pytest.raises(UserError) as refused:
            predict(video, *words, *more)
        assert part.format(tmp_path) in str(refused.value)
    with pytest.raises(UserError, match="must be a folder that exists, for several videos"):
        predict(video, other, *words, "--explain", tmp_path / "x.mp4")
    with pytest.raises(UserError, match=r"v\.mp4 is there, beside the videos"):
        predict(other, *words, "--explain", tmp_path)
    with pytest.raises(UserError, match="takes no videos, --segments, --overlay, --explain and --json beside it"):
        predict("--watch", tmp_path, *words, "--explain", tmp_path / "x.png")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pytorch_grad_cam", None)
        with pytest.raises(UserError, match=r"--explain: needs packages that do not import: pytorch_grad_cam .*\[explain\]'$"):
            predict(video, *words, "--explain", tmp_path / "x.png")
    program = tmp_path / "x.pt2"
    with zipfile.ZipFile(program, "w") as archive:
        archive.writestr("x/archive_format", "pt2")
    with pytest.raises(UserError, match=r"x\.pt2: is a program of torch\.export, which cannot be read back"):
        predict(video, *words[:2], "--checkpoint", program, "--explain", tmp_path / "x.png")


def test_a_video_that_cannot_be_read_again_costs_no_other(pooled, tmp_path, monkeypatch):
    videos = [write_planted(tmp_path / f"{name}.mp4", (176, 176), (60, 60), WHEN) for name in "ab"]
    (tmp_path / "out").mkdir()
    decode = run_explain.decode_images

    def one_fails(path, *rest):
        if path.name == "a.mp4":
            raise run_explain.DecodeError("does not decode")
        return decode(path, *rest)

    monkeypatch.setattr(run_explain, "decode_images", one_fails)
    with pytest.raises(UserError, match=r"--explain .*out/a\.mp4: is not written, .*/a\.mp4 does not decode; mend it"):
        predict(*videos, *pooled[0], "--explain", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.mp4", "b.png"]


def test_a_video_that_changes_its_size_is_said_to_be_short(pooled, tmp_path):
    path = tmp_path / "v.ts"
    for size in ((176, 144), (144, 176)):
        part = make_video(tmp_path / "part.ts", num_frames=30, width=size[0], height=size[1])
        with path.open("ab") as file:
            file.write(part.read_bytes())
    with pytest.raises(UserError, match=r"x\.mp4: has \d+ of \d+ frames, then .*v\.ts changes its size or does not"):
        predict(path, *pooled[0], "--explain", tmp_path / "x.mp4")
    assert (tmp_path / "x.mp4").exists()
