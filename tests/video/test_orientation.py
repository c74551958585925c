"""Videos that their container turns or mirrors are read as players show them, on every path."""

import dataclasses
import functools
import json
import struct

import av
import numpy as np
import pytest
import torch
from loaders import CLIP, CROP, GRAPH_CROPS, PIPE, options, published_crop
from media import decode_all, known, numbered_frame
from runs import PIPE as PIPE_FILE

from c2d_fast.commands.run_test import run_test
from c2d_fast.lists.listing import read_list
from c2d_fast.loading import decode
from c2d_fast.loading.decode import choose_decoder, decode_files
from c2d_fast.loading.decoder_check import check_decoder
from c2d_fast.loading.loader import EvalLoader, TrainLoader
from c2d_fast.loading.plan import EvalPlan, TrainPlan
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.reporting.overlay import write_overlay
from c2d_fast.test import parse
from c2d_fast.video.examine import examine
from c2d_fast.video.orientation import apply_orientation, orientation_of
from c2d_fast.video.reader import decode_frames, read_clip

ONE = 1 << 16
# name -> a, b, c, d of the display matrix, and what shows a stored picture
MATRICES = {
    "upright": ((ONE, 0, 0, ONE), lambda x: x),
    "quarter clockwise": ((0, ONE, -ONE, 0), lambda x: np.rot90(x, -1)),
    "half": ((-ONE, 0, 0, -ONE), lambda x: np.rot90(x, 2)),
    "quarter counter-clockwise": ((0, -ONE, ONE, 0), lambda x: np.rot90(x, 1)),
    "mirrored": ((-ONE, 0, 0, ONE), lambda x: x[:, ::-1]),
    "upside down": ((ONE, 0, 0, -ONE), lambda x: x[::-1]),
    "transposed": ((0, ONE, ONE, 0), lambda x: x.swapaxes(0, 1)),
    "transposed the other way": ((0, -ONE, -ONE, 0), lambda x: np.rot90(x, 2).swapaxes(0, 1)),
}
NUM_FRAMES = 24


def matrix(name):
    a, b, c, d = MATRICES[name][0]
    return (a, b, 0, c, d, 0, 0, 0, 1 << 30)


def stored_picture(name, upright):
    """Returns the picture that is shown upright by a display matrix."""
    number = orientation_of(struct.pack("=9i", *matrix(name)))
    candidates = [apply_orientation(upright, o) for o in range(8)]
    return next(picture for picture in candidates if np.array_equal(apply_orientation(picture, number), upright))


def make(path, name, encoder="libx264", options=(("qp", "0"), ("g", "8"), ("bf", "2")), *, aspect=None, hue=None):
    """Writes a lossless video whose frames are stored as the matrix wants them, and the matrix into its header."""
    number = orientation_of(struct.pack("=9i", *matrix(name)))
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25, options=dict(options))
        stream.height, stream.width, stream.pix_fmt = *((160, 96) if number & 4 else (96, 160)), "yuv420p"
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for k in range(NUM_FRAMES):
            picture = numbered_frame(k, 160, 96, hue=k if hue is None else hue)
            upright = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
            for plane, source, scale in zip(frame.planes, upright.planes, (1, 2, 2), strict=True):
                pixels = np.frombuffer(source, np.uint8).reshape(96 // scale, -1)[:, : 160 // scale]
                rows = np.zeros((plane.height, plane.line_size), np.uint8)
                rows[:, : plane.width] = stored_picture(name, pixels)
                plane.update(rows)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # ISO 14496-12, 8.3.2: the matrix of version 0
    content[at : at + 36] = struct.pack(">9i", *matrix(name))
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("turned")
    for place, name in enumerate(MATRICES):
        make(folder / f"{place}.mp4", name)
    (folder / "list.txt").write_text("".join(f"{place}.mp4 {place % 2}\n" for place in range(len(MATRICES))))
    return folder


@pytest.mark.parametrize("name", MATRICES)
def test_a_matrix_is_one_of_eight(name):
    image = np.random.default_rng(0).integers(0, 255, (6, 4, 3), np.uint8)
    number = orientation_of(struct.pack("=9i", *matrix(name)))
    assert np.array_equal(apply_orientation(image, number), MATRICES[name][1](image))
    assert apply_orientation(image, number).flags.c_contiguous


def test_what_is_no_quarter_turn_is_left():
    assert orientation_of(None) == orientation_of(b"") == 0
    assert orientation_of(struct.pack("=9i", 46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30)) == 0


@pytest.mark.parametrize("place", range(len(MATRICES)), ids=list(MATRICES))
def test_frames_are_upright_however_they_are_read(videos, place):
    path, wanted = videos / f"{place}.mp4", np.array([3, 17, 9])
    upright = decode_all(videos / "0.mp4")
    for depth in ("packets", "full"):
        examined = examine(path, depth, locate=True)
        assert (examined.facts.width, examined.facts.height) == (160, 96)
        for stored in (known(examined), known(examined, table=True), None):
            frames = decode_frames(path, wanted, 1, stored) if stored else decode_frames(path, wanted)
            assert frames.shape == (3, 96, 160, 3)
            assert (frames == upright[wanted]).all()


def bad_videos(folder, name="list.txt"):
    manifest = read_manifest(read_list(folder / name, folder, 2), allow_missing=False, jobs=1)
    return BadVideos(manifest, (0.0, False), "mend them")


@pytest.mark.parametrize("graph", [PIPE, GRAPH_CROPS], ids=["workers", "graph"])
def test_clips_of_all_are_those_of_the_upright_one(videos, graph):
    bad = bad_videos(videos)
    plan = TrainPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, seed=0, batch_size=8)
    (batch,) = TrainLoader(graph.train_pipe, plan, options(), bad).epoch(0)
    for clip, index in zip(batch.clip, batch.index.tolist(), strict=True):
        sample = plan.draw(0, index)
        upright = decode_all(videos / "0.mp4")[sample.frames]
        expected = published_crop(upright, sample.boxes[0], CROP.train_short_side, CROP.size, sample.flip)
        assert np.abs(clip.numpy().astype(int) - expected).max() <= 2
    views = EvalPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, batch_size=8)
    (batch,) = EvalLoader(graph.eval_pipe, views, options(), bad, views_per_batch=8).views()
    for clip in batch.clip[1:]:
        assert torch.equal(clip, batch.clip[0])


def test_a_scan_says_it_and_a_manifest_reads_upright_too(videos, tmp_path, run_command):
    done = run_command("prepare", "scan", "--list", videos / "list.txt", "--out", tmp_path / "list.npz")
    assert done.returncode == 0, done.stderr
    assert "turned by their container" in done.stdout
    bad = (
        bad_videos(videos),
        BadVideos(
            read_manifest(read_list(tmp_path / "list.npz", videos, 2), allow_missing=False, jobs=1), (0.0, False), "mend them"
        ),
    )
    clips = []
    for one in bad:
        plan = EvalPlan(videos=one.manifest.videos(), clip=CLIP, crop=CROP, batch_size=8)
        (batch,) = EvalLoader(PIPE.eval_pipe, plan, options(), one, views_per_batch=8).views()
        clips.append(batch.clip.clone())
    assert torch.equal(*clips)


@pytest.fixture(scope="module")
def vp9(tmp_path_factory):
    """The same in VP9, which DALI decodes without a GPU."""
    folder = tmp_path_factory.mktemp("turned vp9")
    for place, name in enumerate(MATRICES):
        make(folder / f"{place}.mp4", name, "libvpx-vp9", (("lossless", "1"), ("lag-in-frames", "0")))
    (folder / "list.txt").write_text("".join(f"{place}.mp4 {place % 2}\n" for place in range(len(MATRICES))))
    return folder


@pytest.mark.parametrize(("decoder", "share"), [("dali", 0.0), ("hybrid", 0.5)])
@pytest.mark.parametrize("clears", [True, False])
def test_the_graph_turns_what_dali_decodes(vp9, decoder, share, clears):
    bad = bad_videos(vp9)
    assert check_decoder(bad.manifest.videos(), "dali", torch.device("cpu")) == ""
    how = dataclasses.replace(options(decoder), hybrid_share=share, clear_cropping=clears)
    views = EvalPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, batch_size=8)
    (batch,) = EvalLoader(PIPE.eval_pipe, views, how, bad, views_per_batch=8).views()
    alone = dataclasses.replace(options("dali"), clear_cropping=clears)
    (expected,) = EvalLoader(PIPE.eval_pipe, views, alone, bad, views_per_batch=8).views()
    for place, clip in enumerate(batch.clip):
        if decoder == "dali" or views.lot(0, place) < share:
            assert (clip.float() - expected.clip[0].float()).abs().max() <= 1
        else:  # by FFmpeg, which takes the nearest sample of chroma
            assert (clip.float() - expected.clip[0].float()).abs().mean() < 4


def test_the_graph_scales_and_crops_what_it_has_turned(vp9):
    bad, how = bad_videos(vp9), options("dali")
    plan = TrainPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, seed=0, batch_size=8)
    (batch,) = TrainLoader(PIPE.train_pipe, plan, how, bad).epoch(0)
    path = vp9 / "0.mp4"
    for clip, index in zip(batch.clip.numpy(), batch.index.tolist(), strict=True):
        sample = plan.draw(0, index)
        (upright,) = decode_files([read_clip(path, sample.frames, known(examine(path)))], "dali", threads=1, device_id=None)
        expected = published_crop(upright, sample.boxes[0], CROP.train_short_side, CROP.size, sample.flip)
        assert np.abs(clip.astype(int) - expected).max() <= 3  # chroma is halved the other way in a turned file


def test_nvdec_may_have_them(videos, monkeypatch):
    monkeypatch.setattr(decode, "nvdec_library", lambda: True)
    plain = bad_videos(videos).manifest
    assert choose_decoder("auto", plain, gpu=True)[0] == "nvdec"


@pytest.mark.parametrize("place", range(len(MATRICES)), ids=list(MATRICES))
def test_an_overlay_is_upright_and_has_no_tag(videos, tmp_path, place):
    assert write_overlay(videos / f"{place}.mp4", tmp_path / "out.mp4", []) == NUM_FRAMES
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height, frame.rotation) == (160, 96, 0)
    upright = decode_all(videos / "0.mp4")[0]
    assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - upright).mean() < 8


def test_transcoded_videos_are_shown_alike(videos, tmp_path, run_command):
    done = run_command("prepare", "transcode", "--list", videos / "list.txt", "--out", tmp_path / "out", "--short-side", 96)
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(read_list(tmp_path / "out" / "list.npz", None, 2), allow_missing=False, jobs=1)
    plan = EvalPlan(videos=manifest.videos(), clip=CLIP, crop=CROP, batch_size=8)
    (batch,) = EvalLoader(PIPE.eval_pipe, plan, options(), BadVideos(manifest, (0.0, False), ""), views_per_batch=8).views()
    for clip in batch.clip[1:]:
        assert (clip.float() - batch.clip[0].float()).abs().mean() < 4
    assert manifest.facts["width"].tolist() == [160] * 8


def test_a_phone_s_video_is_that_of_the_case(shared):
    folder = shared / "cases" / "rotation"
    phone, upright = (decode_frames(folder / f"{name}.mp4", np.array([0, 5])) for name in ("phone", "upright"))
    assert phone.shape == upright.shape == (2, 160, 96, 3)
    assert np.abs(phone.astype(int) - upright).mean() < 3


def test_the_video_is_taken_and_not_its_preview(shared):
    path = shared / "cases" / "stream" / "previewfirst.mp4"
    facts = examine(path).facts
    assert (facts.width, facts.height, facts.frames) == (96, 96, 40)
    assert decode_frames(path, np.array([39])).shape == (1, 96, 96, 3)


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Eight different videos in every orientation that a container can ask for; a list for each orientation."""
    folder = tmp_path_factory.mktemp("copies")
    for place, name in enumerate(MATRICES):
        for number in range(8):
            make(folder / f"{place}" / f"{number}.mp4", name, hue=3 * number)
        (folder / f"{place}.txt").write_text("".join(f"{place}/{number}.mp4 {number % 2}\n" for number in range(8)))
    return folder


@pytest.fixture(scope="module")
def score(copies, whole_run, tmp_path_factory):
    """Scores a list of copies as `python -m c2d_fast.test` does: its figures, and the scores of each video."""
    folder = tmp_path_factory.mktemp("scores")

    @functools.cache
    def run(place, views):
        words = ["--pipe", PIPE_FILE, "--checkpoint", whole_run / "best.pt", "--list", copies / f"{place}.txt"]
        run_test(parse([str(word) for word in [*words, "--views", views, "--dump", folder / "x.json"]]))
        summary = json.loads((folder / "x.json.summary.json").read_text())["result"]
        rows = json.loads((folder / "x.json").read_text())
        return [summary[name] for name in ("top1", "top5", "mean_class_accuracy")], np.array([row["scores"] for row in rows])

    return run


@pytest.mark.parametrize("place", range(1, len(MATRICES)), ids=list(MATRICES)[1:])
@pytest.mark.parametrize("views", ["1x1", pytest.param("10x3", marks=pytest.mark.slow)])
def test_scores_of_turned_copies_are_those_of_the_upright_ones(score, place, views):
    (upright, upright_scores), (turned_ones, scores) = score(0, views), score(place, views)
    assert np.ptp(upright_scores[:, 0]) > 0  # they differ from video to video
    assert turned_ones == upright
    assert np.abs(scores - upright_scores).max() < 1e-5
