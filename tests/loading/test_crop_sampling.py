"""The boxes of training clips, against plain formulas and in distribution."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import RandomResizedCrop

from c2d_fast.loading import sampler
from c2d_fast.loading.crop_sampling import draw_box
from c2d_fast.recipe import CROP_KINDS, Crop

sides = st.integers(90, 2000)


@given(sides, sides, st.sampled_from(CROP_KINDS), st.integers(0, 50))
def test_boxes_lie_within_the_frame(width, height, kind, seed):
    (x0, y0, x1, y1), (w, h) = draw_box(Crop(kind=kind), width, height, np.random.default_rng(seed))
    assert 0 <= x0 < x1 <= w
    assert 0 <= y0 < y1 <= h
    if kind in ("short_side_jitter", "centre"):
        assert (x1 - x0, y1 - y0) == (224, 224)
    if kind == "short_side_jitter":
        assert 256 <= min(w, h) <= 320
    else:
        assert (w, h) == sampler.scaled_size(width, height, 256)


def test_the_published_crop_is_drawn_as_before():
    draws = sampler.train_draws(340, 256, 224, Crop().scales)
    for seed in range(50):
        first, box, flip = sampler.draw_train(seed, 1, 2, 100, draws)
        rng = sampler.generator(seed, 1, 2)
        assert (int(rng.integers(100)), draw_box(Crop(), 340, 256, rng)[0], bool(rng.random() < 0.5)) == (first, box, flip)


@pytest.mark.parametrize(("width", "height"), [(340, 256), (256, 340), (1000, 256)])
def test_random_resized_is_torchvisions_in_distribution(width, height):
    """Two samples of areas, ratios and places come from one distribution: Kolmogorov and Smirnov's statistic of 3000 each."""
    torch.manual_seed(0)
    frame, ours, theirs = torch.zeros(1, height, width), [], []
    for seed in range(3000):
        (x0, y0, x1, y1), _ = draw_box(Crop(kind="random_resized"), width, height, np.random.default_rng(seed))
        ours.append((x0, y0, x1 - x0, y1 - y0))
        y, x, h, w = RandomResizedCrop.get_params(frame, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
        theirs.append((x, y, w, h))
    for of in (lambda b: b[2] * b[3], lambda b: b[2] / b[3], lambda b: b[0], lambda b: b[1]):
        a, b = np.sort([of(box) for box in ours]), np.sort([of(box) for box in theirs])
        both = np.concatenate([a, b])
        distance = np.abs(np.searchsorted(a, both, "right") - np.searchsorted(b, both, "right")).max() / 3000
        assert distance < 1.95 * math.sqrt(2 / 3000)  # p = 0.001


def test_jitter_draws_all_short_sides_and_places():
    seen = [
        draw_box(Crop(kind="short_side_jitter", short_sides=(256, 258)), 340, 256, np.random.default_rng(i)) for i in range(900)
    ]
    heights = np.bincount([size[1] for _, size in seen])[256:]
    assert (np.abs(heights - 300) < 5 * math.sqrt(300)).all()
    assert {box[1] for box, size in seen if size[1] == 256} == set(range(33))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "random"}, r"crop kind \('random'\) must be one of multi_scale"),
        ({"views": "five"}, r"crop views \('five'\) must be one of published, centre, three"),
        ({"area": (0.5, 0.1)}, r"crop area \(\(0.5, 0.1\)\)"),
        ({"short_sides": (320, 256)}, r"crop short_sides .* must be two rising numbers"),
        ({"kind": "short_side_jitter", "short_sides": (200, 256)}, "must be 224 at least"),
        ({"kind": "short_side_jitter", "scale_before_crop": False}, "scale_before_crop True"),
        ({"flip": 2}, r"crop flip \(2\) must be 0 to 1"),
    ],
)
def test_wrong_crops_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        Crop(**wrong)


def test_random_resized_boxes_have_a_pixel_at_least():
    for ratio in (0.001, 1000.0):
        crop = Crop(kind="random_resized", area=(0.0001, 0.0001), ratio=(ratio, ratio))
        (x0, y0, x1, y1), _ = draw_box(crop, 160, 96, np.random.default_rng(0))
        assert x1 > x0
        assert y1 > y0
