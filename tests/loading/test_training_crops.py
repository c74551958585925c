"""Training crops of sources of many sizes: scaled, cut and resized as published, by the workers and by the graph."""

import dataclasses
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from loaders import GRAPH_CROPS, options, published_crop, reference_crop
from media import decode_all, spoil
from nvidia.dali import fn, pipeline_def, types

from c2d_fast.lists.listing import read_list
from c2d_fast.loading import sampler
from c2d_fast.loading.decode import decode_files, read_clips
from c2d_fast.loading.loader import TrainLoader
from c2d_fast.loading.plan import TrainPlan
from c2d_fast.loading.source import ClipSource, SingleSample, stored_of
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.recipe import Clip, load_pipe
from c2d_fast.video.crops import cut_crop, scale_frames
from c2d_fast.video.reader import read_clip

PIPE = load_pipe("dali_pipes/k400_8x8.py")
CROP = PIPE.recipe.crop
ONE_STEP = dataclasses.replace(CROP, scale_before_crop=False)
CLIP = Clip(num_frames=2, interval=1)
SIZES = ((320, 180), (240, 320), (340, 256), (568, 320), (480, 854), (1280, 720), (1080, 1920))
ALL_256 = ((340, 256), (256, 456))


def picture(width, height, seed=0):
    """Draws edges at all angles with noise on top: interpolating it otherwise than asked for shows."""
    rng = np.random.default_rng([seed, width, height])
    coarse = rng.integers(0, 255, (height // 9, width // 9, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_workers_make_the_published_crops_to_the_bit(width, height):
    frames = np.stack([picture(width, height, seed) for seed in range(2)])
    scaled = sampler.scaled_size(width, height, 256)
    for box in sorted(set(sampler.train_draws(*scaled, 224, CROP.scales)))[::7]:
        for flip in (False, True):
            parts = sampler.relative_box(box, *scaled)
            crop = cut_crop(scale_frames(list(frames), scaled), parts, 224, flip=flip, is_scaled=True)
            assert (crop == published_crop(frames, parts, 256, 224, flip)).all()


def test_frames_of_the_right_size_are_left_alone():
    frames = [picture(340, 256)]
    assert scale_frames(frames, (340, 256))[0] is frames[0]
    assert [frame.shape for frame in scale_frames(frames, (455, 256))] == [(256, 455, 3)]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """MJPEG videos, which both FFmpeg and DALI's CPU decoder read, and their lists: of all sizes, and of 256 lines."""
    folder = tmp_path_factory.mktemp("sizes")
    found = {}
    for name, sizes in (("all", SIZES), ("256", ALL_256)):
        for place, (width, height) in enumerate(sizes):
            with av.open(str(folder / f"{name}{place}.avi"), "w") as container:
                stream = container.add_stream("mjpeg", rate=25, options={"q:v": "3"})
                stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
                for number in range(3):
                    frame = av.VideoFrame.from_ndarray(picture(width, height, number), format="rgb24")
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())
        path = folder / f"{name}.txt"
        path.write_text("".join(f"{name}{place}.avi {place % 2}\n" for place in range(len(sizes))))
        found[name] = BadVideos(read_manifest(read_list(path, None, 2), allow_missing=False, jobs=2), (0.0, False), "")
    return found


def clips(bad, decoder, pipe, crop, share=0.5):
    """Yields the training clips of an epoch or two, and of each its sample and the frames that its decoder gives."""
    plan = TrainPlan(videos=bad.manifest.videos(), clip=CLIP, crop=crop, seed=3, batch_size=len(bad.manifest.kept))
    loader = TrainLoader(pipe.train_pipe, plan, dataclasses.replace(options(decoder), hybrid_share=share), bad)
    for epoch in (0, 1):
        (batch,) = loader.epoch(epoch)
        for slot, clip in enumerate(batch.clip.numpy().copy()):
            sample, path = plan.sample(epoch, slot), plan.videos.file(plan.sample(epoch, slot).index)
            if decoder == "dali" or (decoder == "hybrid" and plan.lot(epoch, slot) < share):
                file = read_clip(path, sample.frames, stored_of(plan.videos, sample.index))
                (frames,) = decode_files([file], "dali", threads=1, device_id=None)
            else:
                frames = decode_all(path)[sample.frames]
            yield clip.astype(int), sample, frames


@pytest.mark.parametrize("name", ["all", "256"])
def test_clips_by_the_workers_are_the_published_ones_to_the_bit(videos, name):
    for clip, sample, frames in clips(videos[name], "ffmpeg", PIPE, CROP):
        assert (clip == published_crop(frames, sample.boxes[0], 256, 224, sample.flip)).all()


@pytest.mark.parametrize("name", ["all", "256"])
@pytest.mark.parametrize(("decoder", "pipe"), [("dali", PIPE), ("hybrid", PIPE), ("ffmpeg", GRAPH_CROPS)])
def test_clips_by_the_graph_are_the_published_ones_to_rounding(videos, name, decoder, pipe):
    for clip, sample, frames in clips(videos[name], decoder, pipe, CROP):
        difference = np.abs(clip - published_crop(frames, sample.boxes[0], 256, 224, sample.flip))
        assert difference.mean() < 0.3  # each of the two steps rounds in OpenCV otherwise than in DALI, by a level at most
        assert difference.max() <= (1 if name == "256" else 2)
        assert (difference > 1).mean() < 0.01


@pytest.mark.parametrize(("decoder", "pipe"), [("ffmpeg", PIPE), ("dali", PIPE), ("ffmpeg", GRAPH_CROPS)])
def test_a_recipe_may_ask_for_one_step(videos, decoder, pipe):
    apart = []
    for clip, sample, frames in clips(videos["all"], decoder, pipe, ONE_STEP):
        one = reference_crop(frames, sample.boxes[0], 224, sample.flip)
        two = published_crop(frames, sample.boxes[0], 256, 224, sample.flip)
        is_scaled = min(frames.shape[1:3]) == 256
        # Of frames that need no scaling workers cut the box out first, and nothing beyond it is read.
        inside = slice(1, -1) if is_scaled else slice(None)
        assert np.abs(clip - one)[:, inside, inside].max() < 1.51
        if not is_scaled:
            apart.append(np.abs(clip - two).mean())
    assert max(apart) > 1


def test_a_source_says_whether_its_list_needs_scaling(videos):
    for name, crop, first, all_scaled in (
        ("all", CROP, True, False),
        ("256", CROP, True, True),
        ("256", ONE_STEP, False, True),
    ):
        plan = TrainPlan(videos=videos[name].manifest.videos(), clip=CLIP, crop=crop, seed=0, batch_size=2)
        source = ClipSource(plan=plan, decoder="dali", device="cpu", decoder_threads=1)
        assert (source.scales_first, source.all_scaled) == (first, all_scaled)


def test_the_box_of_a_graph_s_own_pipe_file_is_all_of_its_clip(videos):
    """What a user's graph is told: it may resize start..end as before, or the clip as it is."""

    @pipeline_def
    def graph(source):
        clip, _, _, flip, index, problem = read_clips(source)
        clip = fn.resize(clip, size=[source.crop_size] * 2, interp_type=types.INTERP_LINEAR, antialias=False)
        return fn.flip(clip, horizontal=flip), index, problem

    bad = videos["all"]
    plan = TrainPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, seed=3, batch_size=len(SIZES))
    (whole,) = TrainLoader(graph, plan, options("dali"), bad).epoch(0)
    (boxes,) = TrainLoader(PIPE.train_pipe, plan, options("dali"), bad).epoch(0)
    assert torch.equal(whole.clip, boxes.clip)


def test_a_broken_video_s_box_holds_pixels(tmp_path, videos):
    """In the place of its frames a worker sends very small ones, of which some boxes would be no pixel at all."""
    shutil.copy(Path(videos["256"].manifest.listing.root) / "2560.avi", tmp_path / "a.avi")
    (tmp_path / "list.txt").write_text("a.avi 0\n")
    manifest = read_manifest(read_list(tmp_path / "list.txt", None, 2), allow_missing=False, jobs=1)
    spoil(tmp_path / "a.avi")
    plan = TrainPlan(videos=manifest.videos(), clip=CLIP, crop=CROP, seed=3, batch_size=1)
    images, start, end, *_, problem = ClipSource(plan=plan, decoder="ffmpeg", device="gpu", decoder_threads=1)(SingleSample())
    assert problem.size > 0
    assert images.shape == (1, 2, 2, 3)
    assert (start.tolist(), end.tolist()) == ([[0, 0]], [[1, 1]])
