"""Which parts of a file are asked for together."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from c2d_fast.remote.ranges import bridged

STRETCHES = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 400)), min_size=1, max_size=30)


@settings(deadline=None)
@given(STRETCHES, st.integers(0, 300), st.booleans())
def test_parts_hold_the_stretches_and_no_gap_wider_than_the_bridge(stretches, bridge, in_order):
    if in_order:
        stretches.sort()
    positions, sizes = (np.array(column, np.int64) for column in zip(*stretches, strict=True))
    parts = bridged(positions, sizes, bridge)
    assert [number for _, _, first, last in parts for number in range(first, last)] == list(range(len(stretches)))
    for start, end, first, last in parts:
        inside = stretches[first:last]
        assert start == inside[0][0] == min(at for at, _ in inside)
        assert end == max(at + size for at, size in inside)
        read = np.zeros(end - start, bool)
        for at, size in inside:
            read[at - start : at - start + size] = True
        runs = np.diff(np.flatnonzero(np.concatenate([[True], read, [True]]))) - 1
        assert runs.max() <= bridge
    for (_, _, _, last), (start, _, first, _) in itertools.pairwise(parts):
        assert last == first
        before = stretches[last - 1]
        assert start > sum(before) + bridge or start < before[0]
