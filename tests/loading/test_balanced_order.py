"""The order that shows classes equally often: its rules, by hypothesis, and what plans and loaders make of it."""

import dataclasses
import itertools
import pickle
import time
from collections import Counter

import numpy as np
import pytest
from clip_loaders import SMALL, digests
from hypothesis import given
from hypothesis import strategies as st
from media import make_dataset
from test_plan import indices, train_plan

from c2d_fast import ClipLoader, Dense, Multi
from c2d_fast.errors import UserError
from c2d_fast.loading import balanced_order as balanced
from c2d_fast.loading import sampler
from c2d_fast.loading.plan import TrainPlan

SEEDS = st.integers(0, 2**40)
LISTS = st.lists(st.sampled_from([-1, 0, 2, 3, 7, 7, 7, 7]), min_size=1, max_size=40).map(np.array)


def orders(seed, labels, epochs):
    return [balanced.balanced_order(seed, epoch, labels)[0] for epoch in range(epochs)]


@given(SEEDS, LISTS, st.integers(1, 12))
def test_classes_have_their_even_shares_and_videos_of_a_class_theirs(seed, labels, epochs):
    shown = np.zeros(len(labels), int)
    classes, unlabelled = sorted({*labels.tolist()} - {-1}), int((labels == -1).sum())
    offsets = None
    for epoch, order in enumerate(orders(seed, labels, epochs), start=1):
        assert order.shape == labels.shape
        assert order.dtype == np.int64
        shown += np.bincount(order, minlength=len(labels))
        assert (shown[labels == -1] == epoch).all(), "videos without a label come once an epoch"
        total = epoch * (len(labels) - unlabelled)
        counts = [int(shown[labels == label].sum()) for label in classes]
        assert sum(counts) == total
        # floor((total + offset) / classes), with the same permutation of 0 .. classes - 1 in all epochs
        possible = [{offset for offset in range(len(classes)) if (total + offset) // len(classes) == count} for count in counts]
        offsets = possible if offsets is None else [a & b for a, b in zip(offsets, possible, strict=True)]
        assert all(offsets)
        for label in classes:
            of_class = shown[labels == label]
            assert of_class.max() - of_class.min() <= 1
    if offsets:
        assert {*itertools.chain.from_iterable(offsets)} == set(range(len(classes)))


@given(SEEDS, LISTS, st.integers(0, 1000))
def test_repeats_count_how_often_a_video_has_come(seed, labels, epoch):
    order, repeats = balanced.balanced_order(seed, epoch, labels)
    seen = Counter()
    for video, repeat in zip(order.tolist(), repeats.tolist(), strict=True):
        assert repeat == seen[video]
        seen[video] += 1


@given(SEEDS, st.integers(0, 100))
def test_the_order_is_a_function_of_seed_and_epoch(seed, epoch):
    labels = np.arange(60) % 7 // 3
    first = balanced.balanced_order(seed, epoch, labels)[0]
    assert (balanced.balanced_order(seed, epoch, labels)[0] == first).all()
    assert (balanced.balanced_order(seed, epoch + 1, labels)[0] != first).any()
    assert (balanced.balanced_order(seed + 1, epoch, labels)[0] != first).any()


def test_every_permutation_of_a_class_is_as_likely_and_every_place_of_an_epoch():
    labels = np.array([0, 0, 0, 1, 1, 1])  # three places each in an epoch: a permutation
    found, places = Counter(), np.zeros((6, 6))
    for seed in range(1200):
        order = balanced.balanced_order(seed, seed % 5, labels)[0]
        found[tuple(order[order < 3].tolist())] += 1
        places[order, range(6)] += 1
    assert len(found) == 6
    chi2 = sum((count - 200) ** 2 / 200 for count in found.values())
    assert chi2 < 25.7  # 5 degrees of freedom: 1 in 10,000 by chance
    assert ((places - 200) ** 2 / 200).sum() < 60  # about 25 degrees
    # Which of three videos has none of the two places that an epoch has for them.
    orders_of_three = (balanced.balanced_order(seed, 0, np.array([0, 0, 0, 1]))[0] for seed in range(600))
    left_out = Counter(next(iter({0, 1, 2} - {*order.tolist()})) for order in orders_of_three)
    assert sum((left_out[video] - 200) ** 2 / 200 for video in range(3)) < 18.4  # 2 degrees, 1 in 10,000


@pytest.mark.slow
def test_a_million_videos_take_seconds_at_most():
    rng = np.random.default_rng(0)
    for labels in (rng.integers(0, 400, 10**6), (np.arange(10**6) < 1).astype(int), np.arange(10**6)):
        started_s = time.perf_counter()
        order, _ = balanced.balanced_order(1, 3, labels)
        assert len(order) == 10**6
        assert time.perf_counter() - started_s < 20  # about 1 on a core of its own


@given(SEEDS, st.integers(0, 50), st.integers(0, 50))
def test_a_repeat_draws_other_numbers_than_any_other_purpose(seed, epoch, index):
    keys = [(0, 0, None), (1, 0, None), (0, 1, None), (0, 2, None), (1, 1, None), (0, 0, 0), (0, 0, 1), (0, 1, 0)]
    drawn = [balanced.generator(seed, epoch, index, clip, repeat, broken).random() for clip, repeat, broken in keys]
    drawn += [sampler.lot(seed, epoch, index, repeat) for repeat in range(3)]
    assert len({*drawn}) == len(drawn)
    assert drawn[0] == sampler.generator(seed, epoch, index).random()
    assert drawn[1] == sampler.generator(seed, epoch, index, 1).random()


def balanced_plan(labels, **kwargs):
    plan = train_plan(count=len(labels), balance=True, **kwargs)
    return dataclasses.replace(plan, videos=dataclasses.replace(plan.videos, labels=np.array(labels)))


LABELS = [0] * 20 + [1] * 3 + [-1] * 2


@pytest.mark.parametrize(("world", "accumulate", "drop_last"), [(1, 1, True), (2, 1, True), (3, 2, True), (2, 1, False)])
def test_all_ranks_together_read_the_order(world, accumulate, drop_last):
    how = {"world": world, "accumulate": accumulate, "drop_last": drop_last, "batch_size": 2}
    plans = [balanced_plan(LABELS, rank=rank, **how) for rank in range(world)]
    steps = plans[0].steps_per_epoch * accumulate
    for epoch in range(3):
        order = balanced.balanced_order(5, epoch, np.array(LABELS))[0].tolist()
        read = []
        for step in range(epoch * steps, (epoch + 1) * steps):
            read += [plan.index(step, slot) for plan in plans for slot in range(plan.rows(step))]
        if drop_last:
            assert read == order[: len(read)]
            assert len(order) - len(read) < 2 * world * accumulate
        else:
            assert read[: len(order)] == order
            assert len(read) - len(order) < world
            assert read[len(order) :] == order[: len(read) - len(order)], (
                "what fills the last batch up is the order's beginning"
            )


def test_repeats_draw_other_clips_and_first_ones_those_of_a_run_without_balance():
    plan, plain = balanced_plan([0] * 20 + [1], batch_size=7), train_plan(count=21, batch_size=7)
    samples = [plan.sample(step, slot) for step in range(3) for slot in range(7)]
    ours = [sample for sample in samples if sample.index == 20]
    assert len(ours) >= 10
    assert len({(*one.frames.tolist(), *one.boxes.ravel().tolist(), one.flip) for one in ours}) == len(ours)
    expected = plain.draw(0, 20)
    assert (ours[0].frames == expected.frames).all()
    assert (ours[0].boxes == expected.boxes).all()
    assert ours[0].flip == expected.flip


def test_several_clips_of_a_repeat_are_all_others():
    plan = balanced_plan([0] * 20 + [1], batch_size=7, clip=Multi(2, Dense(8, 8)))
    samples = [plan.sample(step, slot) for step in range(3) for slot in range(7)]
    clips = [clip for sample in samples if sample.index == 20 for clip in sample.clips]
    assert len({(*clip.frames.tolist(), *clip.boxes.ravel().tolist()) for clip in clips}) == len(clips) >= 20


def test_a_broken_video_is_replaced_by_one_of_its_class_and_all_others_stay():
    plan = balanced_plan(LABELS, batch_size=5)
    broken = dataclasses.replace(plan, quarantined=frozenset({3, 20, 23}))
    for step in range(40):
        for slot in range(5):
            before, index = plan.index(step, slot), broken.index(step, slot)
            if before not in broken.quarantined:
                assert index == before
                assert (broken.sample(step, slot).boxes == plan.sample(step, slot).boxes).all()
            else:
                assert index not in broken.quarantined
                assert LABELS[index] == LABELS[before]
                assert broken.index(step, slot) == index
    of_class = dataclasses.replace(plan, quarantined=frozenset({20, 21, 22}))
    taken = {of_class.index(step, slot) for step in range(5) for slot in range(5)}
    assert not taken & {20, 21, 22}, "where none of its class is left, it is any"


def test_a_substitute_s_clips_are_none_of_its_own():
    plan = balanced_plan([0] * 8 + [1, 1], batch_size=10, quarantined=frozenset({8}))
    clips = [sample for slot in range(10) if (sample := plan.sample(0, slot)).index == 9]
    assert len(clips) == 5
    assert len({(*one.frames.tolist(), *one.boxes.ravel().tolist()) for one in clips}) == 5


def test_workers_are_not_sent_the_order():
    plan = balanced_plan([0, 1] * 30_000, batch_size=4)
    plan.sample(0, 0)
    pickled = pickle.dumps(plan)
    assert len(pickled) < 20_000
    copy = pickle.loads(pickled)
    assert indices(copy, range(4)) == indices(plan, range(4))


def test_what_contradicts_it_is_refused(ten_videos):
    with pytest.raises(UserError, match="balance=True: decides the order of videos, which shuffle=False leaves as it is"):
        ClipLoader(ten_videos, batch_size=2, balance=True, shuffle=False, **SMALL)
    with pytest.raises(UserError, match="balance=True: is of training; leave it out, or take train=True"):
        ClipLoader(ten_videos, batch_size=2, balance=True, train=False, **SMALL)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Nine videos, two of them of class 1."""
    path = make_dataset(tmp_path_factory.mktemp("uneven"), count=9, num_frames=(20, 31))
    lines = [line.rsplit(" ", 1)[0] for line in path.read_text().splitlines()]
    path.write_text("".join(f"{line} {int(number in (2, 5))}\n" for number, line in enumerate(lines)))
    return path


@pytest.mark.parametrize(("world", "drop_last"), [(1, True), (2, False)])
def test_a_loader_goes_on_exactly(uneven, world, drop_last):
    for rank in range(world):
        how = {"clip": Dense(4, 3), "batch_size": 2, "seed": 4, "balance": True, "rank": rank, "world_size": world}
        how |= {"drop_last": drop_last} | SMALL
        with ClipLoader(uneven, **how) as loader:
            loader.set_epoch(2)
            whole, states, labels = [], [], []
            for batch in loader:
                whole += digests([batch])
                labels += batch.label.tolist()
                states.append(loader.state_dict())
        if world == 1:  # nine places, shared 4 to 5, of which the last has no batch
            assert (labels.count(0), labels.count(1)) in {(4, 4), (5, 3), (3, 5)}
        with ClipLoader(uneven, **how) as loader:
            loader.load_state_dict(states[0])
            assert digests(loader) == whole[1:]


def test_states_of_before_are_of_loaders_without_it(uneven):
    how = {"clip": Dense(4, 3), "batch_size": 2} | SMALL
    with ClipLoader(uneven, **how) as plain, ClipLoader(uneven, balance=True, **how) as loader:
        state = plain.state_dict()
        del state["balance"]
        plain.load_state_dict(state)
        with pytest.raises(UserError, match="it was made with balance=False: give the same"):
            loader.load_state_dict(state)
        with pytest.raises(UserError, match="it was made with balance=True: give the same"):
            plain.load_state_dict(loader.state_dict())


def test_without_balance_nothing_has_changed():
    plan = train_plan(count=50, batch_size=4)
    order = np.random.default_rng([5, 1]).permutation(50)[:48].tolist()
    assert indices(plan, range(12, 24)) == order
    assert not plan.balance
    assert TrainPlan.__dataclass_fields__["balance"].default is False
