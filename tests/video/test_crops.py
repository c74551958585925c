import cv2
import numpy as np
import pytest
import torch
from loaders import CLIP, CROP, PIPE, dataset, options, reference_crop

from c2d_fast.commands.dataset import loader_options
from c2d_fast.loading import sampler
from c2d_fast.loading.loader import TrainLoader
from c2d_fast.loading.plan import TrainPlan
from c2d_fast.loading.source import ClipSource
from c2d_fast.train import parse
from c2d_fast.video import crops
from c2d_fast.video.crops import cut_crop, cut_region

RNG = np.random.default_rng(0)


def images(width, height, count=3):
    """Frames with hard edges, whose rows are further apart than they are long."""
    small = RNG.integers(0, 255, (count, height // 4, width // 4 + 9, 3), np.uint8)
    return [image[:, :width] for image in small.repeat(4, 1).repeat(4, 2)]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("width", "height"), [(340, 256), (160, 96), (96, 160), (136, 104), (456, 320)])
def test_a_crop_is_one_bilinear_resize_of_its_region(width, height, flip):
    frames = images(width, height)
    scaled = sampler.scaled_size(width, height, 224)
    for box in (*sampler.three_boxes(*scaled), (3, 5, 150, 170)):
        parts = sampler.relative_box(box, *scaled)
        crop = cut_crop(frames, parts, 112, flip=flip, is_scaled=False)
        assert crop.shape == (3, 112, 112, 3)
        assert np.abs(crop - reference_crop(np.stack(frames), parts, 112, flip)).max() < 0.51


def test_a_frame_that_needs_no_scaling_is_cut_and_resized_as_the_published_pipeline_does():
    frames = images(340, 256)
    for box in set(sampler.train_draws(340, 256, 224, (1.0, 0.875, 0.75, 0.66))):
        x0, y0, x1, y1 = box
        for flip in (False, True):
            crop = cut_crop(frames, sampler.relative_box(box, 340, 256), 224, flip=flip, is_scaled=True)
            expected = [cv2.resize(frame[y0:y1, x0:x1], (224, 224)) for frame in frames]
            expected = [image[:, ::-1] if flip else image for image in expected]
            assert (crop == expected).all()


def test_a_crop_of_the_right_size_is_only_cut():
    frames = images(340, 256)
    box = sampler.relative_box(sampler.centre_box(340, 256, 224), 340, 256)
    for is_scaled in (True, False):
        crop = cut_crop(frames, box, 224, flip=False, is_scaled=is_scaled)
        assert (crop == np.stack(frames)[:, 16:240, 58:282]).all()


@pytest.mark.parametrize("shape", [(340, 256), (135, 104)])
def test_a_region_holds_all_that_resizing_reads(shape):
    width, height = shape
    frames = [RNG.integers(0, 255, (height, width, 3), np.uint8) for _ in range(2)]
    scaled = sampler.scaled_size(width, height, 224)
    for boxes in (
        np.stack([sampler.relative_box(box, *scaled) for box in sampler.three_boxes(*scaled)]),
        np.stack([sampler.relative_box((20, 30, 160, 190), *scaled)]),
        np.array([[0, 0, 1, 1]], np.float32),
    ):
        region, inside = cut_region(frames, boxes)
        assert region.shape[1] <= height
        for box, part in zip(boxes, inside, strict=True):
            whole = reference_crop(np.stack(frames), box, 112)
            assert np.abs(reference_crop(region, part, 112) - whole).max() < 0.02
    assert region.shape[1:3] == (height, width)
    assert region.nbytes == len(frames) * height * width * 3


@pytest.mark.parametrize(("version", "cuts"), [("5.0.0", True), ("4.12.0", False), ("10.1.0-dev", True)])
def test_only_opencv_5_cuts_as_the_published_pipeline_does(monkeypatch, version, cuts):
    monkeypatch.setattr(crops, "version_of", lambda package: version)
    crops.why_no_opencv.cache_clear()
    assert (crops.why_no_opencv() == "") == cuts
    if not cuts:
        assert "OpenCV is 4.12.0" in crops.why_no_opencv()
    crops.why_no_opencv.cache_clear()


def test_without_it_the_graph_cuts_the_crops_and_says_so(tmp_path, monkeypatch, capsys):
    bad = dataset(tmp_path, count=2)
    args = parse(["--pipe", "x"])
    monkeypatch.setattr("c2d_fast.loading.reading_options.why_no_opencv", lambda: "OpenCV is 4.12.0")
    loader_options(bad, args, torch.device("cpu"), PIPE.recipe, batch_size=2)
    assert "note: OpenCV is 4.12.0: the crops are cut by DALI's graph" in capsys.readouterr().out
    plan = TrainPlan(videos=bad.manifest.videos(), clip=CLIP, crop=CROP, seed=1, batch_size=2)
    source = ClipSource(plan=plan, decoder="ffmpeg", device="cpu", decoder_threads=1)
    assert source.crops_on_cpu
    monkeypatch.setattr("c2d_fast.loading.source.why_no_opencv", lambda: "OpenCV is 4.12.0")
    assert not source.crops_on_cpu
    graph = TrainLoader(PIPE.train_pipe, plan, options(), bad)
    with pytest.MonkeyPatch.context() as other:
        try_graph = next(graph.epoch(0)).clip.clone()
        other.setattr("c2d_fast.loading.source.why_no_opencv", lambda: "")
        by_workers = next(TrainLoader(PIPE.train_pipe, plan, options(), bad).epoch(0)).clip
    assert (try_graph.float() - by_workers.float()).abs().max() <= 2
