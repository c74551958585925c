"""The order of an epoch that shows every class equally often: pure functions of (seed, epoch, labels), numpy only.

An epoch has as many places as the list has videos. Over all epochs so far each class has its even share of them, up to one;
within a class the videos come in permutations, one after another across the epochs, so that each has come equally often, up to
one. Videos without a label are shown once in each epoch, as without balance; the classes share the other places.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.loading import sampler

Labels = NDArray[Any]
_OFFSETS, _ORDER = 5, 6
"""Fourth words of the generators' keys: those of sampler.py and 4 (below) have other purposes."""
_REPEAT = 4


class SameArray:
    """An array as the key of a cache: by which array it is, not by what it holds."""

    def __init__(self, array: NDArray[Any]):
        self.array = array

    def __hash__(self) -> int:
        return id(self.array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameArray) and self.array is other.array


def class_quotas(seed: int, epochs: int, places: int, num_classes: int) -> NDArray[np.int64]:
    """Returns how many places each class has had in the first epochs: int64 [classes]; together epochs x places.

    Args:
        seed: decides which classes are first to get what cannot be shared evenly.
        epochs: that are over.
        places: of an epoch, of all classes together.
        num_classes: that share them.
    """
    offsets = np.random.default_rng([seed, 0, 0, _OFFSETS]).permutation(num_classes)
    quotas: NDArray[np.int64] = (epochs * places + offsets) // max(num_classes, 1)
    return quotas


def balanced_order(seed: int, epoch: int, labels: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the order of an epoch.

    Args:
        seed: of the run.
        epoch: counted from 0.
        labels: each video's class, [videos]; below 0: it has none.

    Returns:
        The video of each place, and how often it has come before in this epoch: int64 [videos] each.
    """
    labels = labels.astype(np.int64)
    _, group = np.unique(np.maximum(labels, -1), return_inverse=True)
    members = np.bincount(group)
    # Of each group: places that it has had before this epoch, and after it.
    unlabelled = int(len(labels) > 0 and labels.min() < 0)
    places, num_classes = int(members[unlabelled:].sum()), len(members) - unlabelled
    before, after = (
        np.concatenate([members[:unlabelled] * past, class_quotas(seed, past, places, num_classes)])
        for past in (epoch, epoch + 1)
    )
    videos = _places(seed, group.astype(np.int64), members.astype(np.int64), before, after)
    order = videos[np.random.default_rng([seed, epoch, 0, _ORDER]).permutation(len(videos))]
    return order, _counted(order)


def _places(
    seed: int, group: NDArray[np.int64], members: NDArray[np.int64], before: NDArray[np.int64], after: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Returns the videos of an epoch, group by group: places before to after of each group's endless row of permutations."""
    by_group = np.argsort(group, kind="stable")
    first_member = np.cumsum(members) - members
    first_pass, passes = before // members, np.where(after > before, -(-after // members) - before // members, 0)
    # One row for each permutation that is touched, and in it one entry for each video of the group.
    row_group = np.repeat(np.arange(len(members)), passes)
    row_pass = np.arange(len(row_group)) - np.repeat(np.cumsum(passes) - passes, passes) + first_pass[row_group]
    length = members[row_group]
    start = np.cumsum(length) - length
    row = np.repeat(np.arange(len(length)), length)
    within = np.arange(len(row)) - start[row]
    video = by_group[first_member[row_group[row]] + within]
    drawn = np.lexsort((_hashed(seed, video, row_pass[row]), row))
    # What lies at a place of the drawn permutations is one of the same row.
    place = row_pass[row] * members[row_group[row]] + within
    wanted = (place >= before[row_group[row]]) & (place < after[row_group[row]])
    videos: NDArray[np.int64] = video[drawn][wanted]
    return videos


def _counted(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns how often each number of an array stands before it."""
    by_video = np.argsort(order, kind="stable")
    is_first = np.diff(order[by_video], prepend=-1) != 0
    numbers = np.arange(len(order))
    counts = np.empty(len(order), np.int64)
    counts[by_video] = numbers - np.maximum.accumulate(np.where(is_first, numbers, 0))
    return counts


def _hashed(seed: int, video: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Returns random numbers, one for each pair: those of a video do not depend on the others, and all are made at once."""
    keys = np.random.SeedSequence([seed, 0, 0, _ORDER]).generate_state(2, np.uint64)
    of_videos = _mixed(video.astype(np.uint64) + keys[0])
    return _mixed(of_videos + number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + keys[1])


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mixes the bits of numbers, as SplitMix64 does (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache(maxsize=2)  # an epoch's and the next one's, as of the order without balance
def order_of(seed: int, epoch: int, labels: SameArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns balanced_order, made once."""
    return balanced_order(seed, epoch, labels.array)


@lru_cache(maxsize=1024)
def substitute_of_class(seed: int, epoch: int, index: int, labels: SameArray, quarantined: frozenset[int]) -> int:
    """Returns the video that takes a broken one's places: of its class, if one of that is left, or else any."""
    fellows = np.flatnonzero(labels.array == labels.array[index])
    own = (int(fellows[i]) for i in sampler.substitutes(seed, epoch, index, len(fellows)))
    found = next((i for i in own if i not in quarantined), None)
    if found is not None:
        return found
    return next(i for i in sampler.substitutes(seed, epoch, index, len(labels.array)) if i not in quarantined)


def generator(seed: int, epoch: int, index: int, clip: int, repeat: int, broken: int | None = None) -> np.random.Generator:
    """Returns what a training clip is drawn from.

    Args:
        seed: of the run.
        epoch: counted from 0.
        index: the video that is shown.
        clip: counts those that are made of one decode.
        repeat: how often the video of the place has come before in the epoch. At 0 the clip is that of a run without balance.
        broken: the video of the place, where it is broken and another one takes it.
    """
    if broken is not None:
        return np.random.default_rng([seed, epoch, index, _REPEAT, repeat, clip, broken])
    if repeat:
        return np.random.default_rng([seed, epoch, index, _REPEAT, repeat, clip])
    return sampler.generator(seed, epoch, index, clip)
