"""Whether a manifest's columns hold what a scan writes. Numpy only."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.formats.label_sets import LabelSets

_TOO_MANY = 2**27
"""Frames of some weeks: a video that is said to have more is none."""
_COUNTED = ("frames", "packets", "width", "height")
_BETWEEN = ("entries", "key_frames")
_TEXTS = ("codec", "container", "pix_fmt")


@dataclass
class FactChecks:
    """Whether nothing is in a manifest that no scan writes, and that would only fail when a video's turn comes."""

    good: NDArray[np.bool_]
    """Of each video, whether it can be used."""
    is_sensible: bool = True

    def look(self, first: int, block: NDArray[Any]) -> None:
        """Looks into facts of DTYPE, the first of which are those of a video."""
        good = self.good[first : first + len(block)]
        if not self.is_sensible or len(good) != len(block):
            self.is_sensible = False
            return
        facts = block[[*_COUNTED, *_BETWEEN, *_TEXTS, "orientation", "fps"]][good]
        self.is_sensible = (
            all(within(facts[name], 1, _TOO_MANY) for name in _COUNTED)
            and all(within(facts[name], 0, facts["packets"] + 1) for name in _BETWEEN)
            and within(facts["orientation"], 0, 8)
            and bool(np.isfinite(facts["fps"]).all())
            and all(facts[name].tobytes().isascii() for name in _TEXTS)
        )


def are_labels(labels: NDArray[Any], sets: LabelSets | None, num_classes: int | None) -> bool:
    """Says whether labels are those of sets, if there are any, and below a number, if there is one."""
    if sets is not None:
        return sets.is_sensible(num_classes) and bool(np.array_equal(labels, sets.heaviest()))
    return within(labels, 0, np.inf if num_classes is None else num_classes)


def within(values: NDArray[Any], lowest: int, end: Any) -> bool:
    """Says whether all values are from one number up, and below another."""
    return bool(((values >= lowest) & (values < end)).all())
