"""What the timestamps of a file's frames and packets tell. Numpy only."""

from itertools import pairwise

import numpy as np

_CONSTANT_S = 0.002


def is_increasing(times: list[int | None]) -> bool:
    """Says whether each of the known times is later than the one before it."""
    return all(a < b for a, b in pairwise(time for time in times if time is not None))


def is_constant(times: list[int | None], time_base_s: float) -> bool:
    """Says whether all frames last equally long, to 2 ms.

    Args:
        times: in any order, in units of the time base.
        time_base_s: the unit, in seconds.
    """
    steps = np.diff(np.sort(np.array([time for time in times if time is not None], np.int64))) * time_base_s
    return not len(steps) or bool(np.ptp(steps) <= _CONSTANT_S)
