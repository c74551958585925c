"""What tests of ClipLoader share: small crops, and digests of batches."""

import hashlib

from c2d_fast import Crop

SMALL = {"crop": Crop(size=32, train_short_side=40, test_short_side=32, short_sides=(36, 44)), "workers": 1, "verbose": False}
"""Arguments of a loader that is quick."""


def digests(batches):
    """A hash of each batch's clips."""
    return [hashlib.sha256(batch.clip.contiguous().numpy().tobytes()).hexdigest() for batch in batches]


def paths_of(listed):
    """The paths and labels of a list."""
    lines = listed.read_text().splitlines()
    return [str(listed.parent / line.rsplit(" ", 1)[0]) for line in lines], [int(line.rsplit(" ", 1)[1]) for line in lines]
