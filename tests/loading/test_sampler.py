import json

import numpy as np
import pytest

from c2d_fast.loading import sampler

CASES = [(1, 8, 8), (30, 8, 8), (57, 8, 8), (63, 8, 8), (64, 8, 8), (65, 8, 8), (300, 8, 8), (300, 16, 4), (5, 16, 4)]


def test_frames_are_those_of_the_reference(shared):
    for case in json.loads((shared / "golden" / "sampling.json").read_text()):
        n, length, interval = case["num_frames"], case["clip_len"], case["frame_interval"]
        assert sampler.test_frames(n, length, interval, 10).tolist() == case["test"]
        assert sampler.val_frames(n, length, interval).tolist() == case["val"]
        firsts = sampler.train_first_frames(n, length, interval)
        assert (firsts[0], firsts[-1]) == (case["train_first_min"], case["train_first_max"])
        assert len(firsts) == case["train_num_distinct"]


def test_crops_are_those_of_the_reference(shared):
    golden = json.loads((shared / "golden" / "crops.json").read_text())
    boxes = sampler.train_boxes(340, 256)
    reference = {tuple(box): share for *box, share in golden["multi_scale_crop_256x340"]}
    assert boxes.keys() == reference.keys()
    # The reference's shares were counted in some thousands of draws.
    assert all(abs(boxes[box] - share) < 0.005 for box, share in reference.items())
    assert [list(box) for box in sampler.three_boxes(298, 224)] == golden["three_crop_224x298"]


@pytest.mark.parametrize(("n", "length", "interval"), CASES)
def test_every_clip_stays_in_the_video(n, length, interval):
    firsts = sampler.train_first_frames(n, length, interval)
    clips = [sampler.clip_frames(first, n, length, interval) for first in firsts]
    clips += [sampler.val_frames(n, length, interval), *sampler.test_frames(n, length, interval, 10)]
    for clip in clips:
        assert clip.shape == (length,)
        assert clip.min() >= 0
        assert clip.max() < n
        assert (np.diff(clip) % n == interval % n).all()


@pytest.mark.parametrize(("width", "height"), [(340, 256), (256, 340), (256, 256), (455, 256), (1000, 256)])
def test_boxes_lie_in_the_frame(width, height):
    boxes = sampler.train_boxes(width, height)
    assert sum(boxes.values()) == pytest.approx(1)
    for x0, y0, x1, y1 in [*boxes, *sampler.three_boxes(width, height), sampler.centre_box(width, height, 224)]:
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height


def test_a_side_close_to_the_crop_becomes_the_crop():
    sides = {x1 - x0 for x0, _, x1, _ in sampler.train_boxes(300, 258)}  # int(258 * 0.875) = 225
    assert sides == {258, 224, 193, 170}


@pytest.mark.parametrize(
    ("source", "short", "scaled"),
    [((340, 256), 224, (298, 224)), ((256, 340), 256, (256, 340)), ((1920, 1080), 256, (455, 256))],
)
def test_scaled_size_rounds_half_up(source, short, scaled):
    assert sampler.scaled_size(*source, short) == scaled


def test_relative_box_covers_the_same_part():
    assert sampler.relative_box((0, 0, 298, 224), 298, 224).tolist() == [0, 0, 1, 1]
    assert sampler.relative_box((74, 56, 298, 224), 298, 224).tolist() == pytest.approx([74 / 298, 0.25, 1, 1])


def test_an_epoch_is_a_permutation_that_the_seed_and_the_epoch_decide():
    orders = {(seed, epoch): tuple(sampler.epoch_order(seed, epoch, 50)) for seed in (0, 1) for epoch in (0, 1)}
    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert len(set(orders.values())) == 4
    assert orders[1, 1] == tuple(sampler.epoch_order(1, 1, 50))


def test_draws_are_uniform_and_pure():
    draws = sampler.train_draws(340, 256, 224, (1.0, 0.875, 0.75, 0.66))
    samples = [sampler.draw_train(3, epoch, index, 4, draws) for epoch in range(4) for index in range(1000)]
    assert samples[1234] == sampler.draw_train(3, 1, 234, 4, draws)
    firsts = np.bincount([first for first, _, _ in samples], minlength=4) / len(samples)
    assert np.abs(firsts - 0.25).max() < 0.03
    assert abs(np.mean([flip for _, _, flip in samples]) - 0.5) < 0.03
    boxes = sampler.train_boxes(340, 256)
    assert {box for _, box, _ in samples} == boxes.keys()


def test_substitutes_visit_every_video_once():
    assert sorted(sampler.substitutes(0, 1, 2, 20)) == list(range(20))
