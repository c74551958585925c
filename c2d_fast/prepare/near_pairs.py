"""Pairs of videos whose frames' hashes are alike, found without comparing all with all. Numpy only.

A pair that is alike has one frame at least that is no further apart than the threshold T. Of the four 16-bit parts of two such
hashes one differs in T // 4 bits at most (pigeonhole): so each part is looked up among all others with so few bits changed, and
what is found is compared whole. For N videos of F frames that are N * F * 4 * probes look-ups (1 for T below 4, 17 below 8, 137
below 12) of N / 65536 videos each, half of them: it grows with N squared, 65,536 times flatter than comparing all, and memory
grows with N alone. Many videos with the same frame at the same place cost their number squared for that frame.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

LEAST_COMMON = 3
"""Frames with contrast in both videos that are compared, at least."""
MOST_THRESHOLD = 15
_PARTS, _BITS = 4, 16
_AT_ONCE = 2**21
_MOST_PAIRS = 2_000_000
_ONES = np.array([number.bit_count() for number in range(2**16)], np.uint8)

Pairs = tuple[NDArray[np.int64], NDArray[np.float64]]


class TooManyError(Exception):
    """More pairs are alike than a report can be made of."""


def near_pairs(hashes: NDArray[np.uint64], has_hash: NDArray[np.bool_], threshold: float) -> Pairs:
    """Finds the videos that are alike.

    Args:
        hashes: of each video's frames at the same places of time, uint64 [videos, frames].
        has_hash: whether there is one, bool [videos, frames].
        threshold: bits of 64 that may differ, on average over the frames that both have; MOST_THRESHOLD at most.

    Returns:
        Pairs int64 [pairs, 2], the smaller number first, sorted; and their distances, float64 [pairs].

    Raises:
        TooManyError: there are more than two millions.
    """
    assert 0 <= threshold <= MOST_THRESHOLD
    may_match = has_hash.sum(1) >= LEAST_COMMON
    found = np.zeros(0, np.int64)
    for frame in range(hashes.shape[1]):
        videos = np.flatnonzero(has_hash[:, frame] & may_match)
        some = [found]
        for a, b in _alike(hashes[videos, frame], int(threshold)):
            first, second = np.minimum(videos[a], videos[b]), np.maximum(videos[a], videos[b])
            keep = distances(hashes, has_hash, first, second) <= threshold
            some.append(np.unique(first[keep] * len(hashes) + second[keep]))
            if sum(map(len, some)) > _MOST_PAIRS:
                some = [np.unique(np.concatenate(some))]
                if len(some[0]) > _MOST_PAIRS:
                    raise TooManyError
        found = np.unique(np.concatenate(some))
    pairs = np.stack([found // max(len(hashes), 1), found % max(len(hashes), 1)], 1)
    return pairs, distances(hashes, has_hash, pairs[:, 0], pairs[:, 1])


def distances(
    hashes: NDArray[np.uint64], has_hash: NDArray[np.bool_], a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns the mean bits, of 64, by which the frames of pairs differ: float64 [pairs]; infinite with too few to compare."""
    common = has_hash[a] & has_hash[b]
    count = common.sum(1)
    total = (_count_ones(hashes[a] ^ hashes[b]) * common).sum(1)
    return np.where(count >= LEAST_COMMON, total / np.maximum(count, 1), np.inf)


def _alike(hashes: NDArray[np.uint64], bits: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yields pairs of hashes [N] that differ in so many bits at most: all of them, some several times."""
    for part in range(_PARTS):
        keys = (hashes >> np.uint64(_BITS * part)).astype(np.uint16).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange(2**_BITS + 1))
        for mask in _masks(bits // _PARTS):
            # Each pair once: of two different keys from that without the mask's lowest bit.
            asking = np.flatnonzero(keys & (mask & -mask) == 0) if mask else np.arange(len(keys))
            other = keys[asking] ^ mask
            counts = starts[other + 1] - starts[other]
            ends = np.cumsum(counts)
            at = 0
            while at < len(asking):
                before = ends[at - 1] if at else 0
                to = max(int(np.searchsorted(ends, before + _AT_ONCE, "right")), at + 1)
                some = counts[at:to]
                a = np.repeat(asking[at:to], some)
                within = np.arange(len(a)) - np.repeat(ends[at:to] - some - before, some)
                b = order[np.repeat(starts[other[at:to]], some) + within]
                keep = _count_ones(hashes[a] ^ hashes[b]) <= bits
                if not mask:
                    keep &= a < b
                if keep.any():
                    yield a[keep], b[keep]
                at = to


def _masks(bits: int) -> list[int]:
    """Returns the 16-bit numbers of so many ones at most."""
    return [sum(1 << bit for bit in some) for count in range(bits + 1) for some in combinations(range(_BITS), count)]


def _count_ones(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
    if hasattr(np, "bitwise_count"):  # numpy 2
        return np.asarray(np.bitwise_count(values), np.uint8)
    parts = np.ascontiguousarray(values).view(np.uint16).reshape(*values.shape, _PARTS)
    return np.asarray(_ONES[parts].sum(-1), np.uint8)
