import dataclasses
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from c2d_fast.errors import UserError
from c2d_fast.loading.plan import EvalPlan, TrainPlan
from c2d_fast.manifest.videos import Videos, pack_paths
from c2d_fast.recipe import Clip, Crop


def videos(count, num_frames=300, width=340, height=256):
    numbers = {"num_frames": num_frames, "width": width, "height": height, "size": 0, "mtime_ns": 0}
    columns = {name: np.full(count, value, np.int64) for name, value in numbers.items()}
    columns |= dict(zip(("paths", "path_ends"), pack_paths(f"{i}.mp4" for i in range(count)), strict=True))
    columns["stored"] = np.array([(b"h264", 7)] * count, [("codec", "S16"), ("entries", "<i4")])
    return Videos(root="/r", labels=np.arange(count), **columns)


def train_plan(count=50, batch_size=4, **kwargs):
    clip = kwargs.pop("clip", Clip(num_frames=8, interval=8))
    return TrainPlan(videos=videos(count), clip=clip, crop=Crop(), seed=5, batch_size=batch_size, **kwargs)


def eval_plan(count=10, batch_size=4, **kwargs):
    clip = Clip(num_frames=8, interval=8)
    return EvalPlan(videos=kwargs.pop("videos", videos(count)), clip=clip, crop=Crop(), batch_size=batch_size, **kwargs)


def indices(plan, steps):
    return [plan.index(step, slot) for step in steps for slot in range(plan.batch_size)]


def test_an_epoch_shows_each_video_at_most_once_and_drops_the_partial_batch():
    plan = train_plan(count=50, batch_size=4)
    assert plan.steps_per_epoch == 12
    for epoch in (0, 3):
        seen = indices(plan, range(epoch * 12, (epoch + 1) * 12))
        assert len(seen) == len(set(seen)) == 48


@pytest.mark.parametrize("world", [2, 3, 4])
def test_the_order_does_not_depend_on_the_number_of_ranks(world):
    one = train_plan(count=50, batch_size=12)
    ranks = [train_plan(count=50, batch_size=12 // world, rank=rank, world=world) for rank in range(world)]
    for step in (0, 3, 4, 9):  # across an epoch's end
        together = [index for plan in ranks for index in indices(plan, [step])]
        assert together == indices(one, [step])


def test_a_sample_is_drawn_for_its_video_and_epoch_alone():
    plan, other = train_plan(batch_size=4), train_plan(batch_size=5)
    by_index = {plan.index(step, slot): plan.sample(step, slot) for step in range(12) for slot in range(4)}
    for step in range(10):
        for slot in range(5):
            sample = other.sample(step, slot)
            if sample.index in by_index:
                assert sample.flip == by_index[sample.index].flip
                assert (sample.frames == by_index[sample.index].frames).all()
                assert (sample.boxes == by_index[sample.index].boxes).all()


def test_fewer_videos_than_a_global_batch_names_both_numbers():
    with pytest.raises(UserError, match="training list: 7 usable videos are fewer than one global batch of 8 clips"):
        train_plan(count=7, batch_size=4, world=2)


def test_broken_videos_are_replaced_the_same_way_every_time():
    plan = train_plan(count=6, batch_size=3)
    broken = dataclasses.replace(plan, quarantined=frozenset({0, 4}))
    for step in range(40):
        for slot in range(3):
            index = plan.index(step, slot)
            if index in {0, 4}:
                assert broken.index(step, slot) not in {0, 4}
                assert broken.index(step, slot) == broken.index(step, slot)
            else:
                assert broken.index(step, slot) == index


@pytest.mark.parametrize(("count", "batch_size", "world"), [(10, 4, 1), (10, 4, 2), (8, 4, 2), (1, 4, 2), (9, 2, 3)])
def test_evaluation_counts_every_video_once(count, batch_size, world):
    plans = [eval_plan(count=count, batch_size=batch_size, rank=rank, world=world) for rank in range(world)]
    for first in (0, plans[0].steps):  # the second round is the same
        places = [(p, step, slot) for p in plans for step in range(first, first + p.steps) for slot in range(batch_size)]
        counted = [plan.index(step, slot) for plan, step, slot in places if plan.is_valid(step, slot)]
        assert sorted(counted) == list(range(count))
        assert all(0 <= plan.index(step, slot) < count for plan, step, slot in places)


def test_evaluation_masks_broken_videos_out():
    plan = eval_plan(count=5, batch_size=2, quarantined=frozenset({0, 3}))
    counted = [plan.index(s, i) for s in range(plan.steps) for i in range(2) if plan.is_valid(s, i)]
    assert counted == [1, 2, 4]
    assert plan.index(0, 0) not in {0, 3}


@pytest.mark.parametrize("num_frames", [1, 5, 30, 57, 300])
@pytest.mark.parametrize("num_clips", [1, 10])
def test_positions_find_every_clip_among_the_frames_decoded_once(num_frames, num_clips):
    plan = eval_plan(videos=videos(2, num_frames), num_clips=num_clips)
    sample = plan.sample(0, 1)
    assert len(set(sample.frames)) == len(sample.frames)
    assert (np.diff(sample.frames) > 0).all()
    clips = sample.frames[plan.positions(1)]
    assert clips.shape == (num_clips, 8)
    assert ((clips[:, 1:] - clips[:, :-1]) % num_frames == 8 % num_frames).all()
    assert plan.num_views == (30 if num_clips == 10 else 1)
    assert sample.boxes.shape == (plan.num_crops, 4)


@pytest.mark.parametrize("count", [50, 60_000])
def test_a_worker_s_videos_are_the_parent_s_and_long_lists_are_not_copied(count):
    plan = train_plan(count=count)
    pickled = pickle.dumps(plan)
    assert len(pickled) < 20_000
    code = (
        "import pickle, sys; v = pickle.load(sys.stdin.buffer).videos; print(v.file(47), v.labels[49], v.stored['entries'][9])"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickled, capture_output=True, check=True)
    assert done.stdout.decode().split() == ["/r/47.mp4", "49", "7"]
    copy = pickle.loads(pickled)
    assert [copy.sample(3, i).index for i in range(4)] == [plan.sample(3, i).index for i in range(4)]


def test_paths_of_any_bytes_are_packed():
    names = ["a b.mp4", "", "ü.mp4", os.fsdecode(b"\xff.mp4")]
    paths, ends = pack_paths(names)
    packed = dataclasses.replace(videos(4), paths=paths, path_ends=ends)
    assert [packed.file(i) for i in range(4)] == [f"/r/{name}" for name in names]
