"""Which figures are drawn of a list's scores: by what its labels mean. No torch."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from c2d_fast.reporting import charts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from c2d_fast.reporting.scores import Scores

_PRECISION = "average precision, %"


def score_figures(scores: "Scores", classes: Sequence[str]) -> Iterator[tuple[str, "Figure"]]:
    """Yields (name, figure): the confusion matrix and the accuracy of each class; of several labels a video, or shares of them,
    of which none is taken for another, the average precision of each class."""
    if scores.kind != "single":
        yield "classes", average_precision_figure(scores.average_precision().numpy(), scores.videos_of_classes(), classes)
        return
    guesses, labels = scores.guesses()
    counts = charts.confusion_counts(labels, guesses, len(classes))
    yield "confusion", charts.confusion_figure(counts, classes)
    yield "classes", charts.class_accuracy_figure(counts, classes)


def average_precision_figure(precision: NDArray[np.float64], videos: NDArray[np.int64], classes: Sequence[str]) -> "Figure":
    """Draws the average precision of each class, as charts.class_accuracy_figure draws accuracy.

    Args:
        precision: per cent, [K]; of a class without a video anything.
        videos: that have each class, [K].
        classes: K names.
    """
    notes = [f"({number} videos)" if number > 1 else "(1 video)" for number in videos.tolist()]
    words = ("Average precision by class", _PRECISION, _PRECISION)
    return charts.class_figure(np.where(videos > 0, precision, np.nan), notes, classes, words)
