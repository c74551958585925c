"""Functions for Frames that tests give to workers, which import this file: nothing else is in it."""

import os
import signal


def every_third(n, rng):
    """Four frames, three apart, in any order."""
    return (int(rng.integers(n)) + 3 * rng.permutation(4)) % n


def two_of_long_ones(n, rng):
    """Fails for the shortest videos."""
    if n == 9:
        raise KeyError("a mistake of mine")
    return [0, 1]


def kill_once(n, rng):
    """Ends the process the first time, as the marker tells."""
    marker = os.environ["C2D_TEST_MARKER"]
    if not os.path.exists(marker):
        with open(marker, "w"):
            os.kill(os.getpid(), signal.SIGKILL)
    return [0, 1]
