"""Strategies against plain formulas, for many lengths of videos."""

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2d_fast.loading import sampler
from c2d_fast.loading.frame_sampling import Dense, Frames, Multi, Uniform, sampling_of
from c2d_fast.recipe import Clip

lengths, counts = st.integers(1, 2000), st.integers(1, 40)


def rng(*key):
    return np.random.default_rng(key or (1, 2, 3))


def tsn_training(n, k, rng):
    """MMAction2's SampleFrames(clip_len=1, frame_interval=1, num_clips=k), from its description: [k]."""
    average = n // k
    if average > 0:
        return np.array([i * average for i in range(k)]) + rng.integers(average, size=k)
    ratio = n / k  # rounded before it is multiplied, as MMAction2 has it: 11 * 15 / 22 is another number
    return np.minimum(np.around([i * ratio for i in range(k)]).astype(int), n - 1)


def tsn_testing(n, k):
    """TSN's own: the middle of each of k parts."""
    tick = n / k
    return np.array([int(tick * i + tick / 2) for i in range(k)])


@given(lengths, counts, st.integers(0, 9))
def test_uniform_draws_as_tsn(n, k, seed):
    drawn = Uniform(k).draw(n, rng(seed))
    assert (drawn == tsn_training(n, k, rng(seed))).all()
    assert drawn.shape == (k,)
    assert (drawn >= 0).all()
    assert (drawn < n).all()
    assert (np.diff(drawn) >= 0).all()
    if n >= k:
        assert (drawn // (n // k) == np.arange(k)).all(), "one of each part"


@given(lengths, counts)
def test_uniform_evaluates_the_middles(n, k):
    (middle,) = Uniform(k).spread(n, 1, rng())
    assert (middle == tsn_testing(n, k)).all()
    assert (middle < n).all()


@given(lengths, counts, st.integers(1, 10))
def test_several_uniform_clips_lie_between_each_other(n, k, clips):
    spread = Uniform(k).spread(n, clips, rng())
    assert spread.shape == (clips, k)
    assert (np.diff(spread.T.ravel()) >= 0).all()  # part by part, clip by clip
    assert 0 <= spread.min() <= spread.max() < n


def test_every_frame_of_a_part_is_as_likely():
    drawn = np.stack([Uniform(3).draw(12, rng(i)) for i in range(4000)])
    for part, column in enumerate(drawn.T):
        counts = np.bincount(column - 4 * part, minlength=4)
        assert (np.abs(counts - 1000) < 5 * np.sqrt(1000)).all()


@given(lengths, counts, st.integers(1, 16), st.integers(0, 5))
def test_dense_is_the_published_sampler(n, frames, interval, seed):
    first, _, _ = sampler.draw_train(seed, 0, 7, len(sampler.train_first_frames(n, frames, interval)), [(0, 0, 1, 1)])
    expected = sampler.clip_frames(first, n, frames, interval)
    assert (Dense(frames, interval).draw(n, sampler.generator(seed, 0, 7)) == expected).all()
    assert (Dense(frames, interval).spread(n, 1, rng()) == sampler.val_frames(n, frames, interval)).all()
    assert (Dense(frames, interval).spread(n, 10, rng()) == sampler.test_frames(n, frames, interval, 10)).all()
    assert sampling_of(Clip(num_frames=frames, interval=interval)) == Dense(frames, interval)


def choose(n, generator):
    return sorted(generator.integers(n, size=3).tolist())


def test_frames_are_what_the_function_chooses():
    assert Frames(choose).num_frames == 3
    assert Frames(choose).draw(50, rng(4)).tolist() == choose(50, rng(4))
    assert Frames(choose).spread(50, 2, rng(4)).shape == (2, 3)


def too_far(n, generator):
    return [0, n]


def uneven(n, generator):
    return list(range(min(n, 5)))


def fractions(n, generator):
    return [0.5, 1.5]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (too_far, "Frames(too_far): gave int64 [0, 9] of a video of 9 frames; must be 2 whole numbers from 0 to 8"),
        (fractions, "Frames(fractions): gave float64 [0.5, 1.5] of a video of 9 frames; must be 2 whole numbers"),
    ],
)
def test_wrong_frames_are_refused(function, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Frames(function).draw(9, rng())


def test_clips_of_another_length_are_refused():
    with pytest.raises(ValueError, match="must be 5 whole numbers"):
        Frames(uneven).draw(3, rng())


def test_functions_that_workers_cannot_have_are_refused():
    with pytest.raises(
        ValueError, match=r"Frames\(<lambda>\): cannot be sent to worker processes .* give a function that stands"
    ):
        Frames(lambda n, generator: [0])
    code = (
        "from c2d_fast import Frames\ndef mine(n, rng): return [0]\ntry: Frames(mine)\nexcept ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "Frames(mine): worker processes cannot import what is typed into an interpreter" in done.stdout


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(0, 1), r"Dense: num_frames \(0\) must be a whole number, 1 at least"),
        (lambda: Dense(8, 1.5), r"Dense: interval \(1.5\) must be"),
        (lambda: Uniform(-1), r"Uniform: num_segments \(-1\) must be"),
        (lambda: Multi(0), r"Multi: num_clips \(0\) must be"),
        (lambda: Multi(2, Multi(2)), r"Multi\(2, .*clip must make one clip; multiply the numbers instead"),
    ],
)
def test_wrong_numbers_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
