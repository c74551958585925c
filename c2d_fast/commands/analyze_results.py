"""Of `analyze`: charts and tables of results, which test --dump writes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast import console
from c2d_fast.commands.analysis_folder import AnalysisFolder, short_names
from c2d_fast.errors import UserError
from c2d_fast.reporting.charts import class_accuracy_figure, confusion_figure
from c2d_fast.reporting.confusion import MOST_IN_FULL, Confusion, as_confusion, confusion_counts
from c2d_fast.reporting.dump_file import Result, read_dump
from c2d_fast.reporting.ranking import average_precision, best_thresholds
from c2d_fast.reporting.score_figures import average_precision_figure
from c2d_fast.tables import Table

_CLASSES_SHOWN, _MIX_UPS = 40, 1000


def read_results(paths: Sequence[Path]) -> list[Result]:
    """Reads dumps; videos that their lists say nothing of are left out, and a line says how many.

    Raises:
        UserError: one is no dump, or has no video left.
    """
    results = []
    for path in paths:
        of_all = read_dump(path)
        results.append(of_all.of_counted())
        if left_out := len(of_all.labels) - len(results[-1].labels):
            console.result(f"note: {left_out} of {len(of_all.labels)} videos of {path} have no label, and are left out")
    return results


def class_names(result: Result, names: Sequence[str] | None, label_map: str | None) -> Sequence[str]:
    """Returns the classes' names: a label map's, those that stand beside the dump, or numbers.

    Raises:
        UserError: the label map has another number of classes.
    """
    num_classes = result.scores.shape[1]
    if names is not None:
        if len(names) != num_classes:
            raise UserError(
                f"--label-map {label_map}: has {len(names)} classes, {result.path} has scores of {num_classes}; "
                "give the map that belongs to it"
            )
        return names
    stored = result.summary.get("classes")
    if isinstance(stored, list) and len(stored) == num_classes and all(isinstance(name, str) for name in stored):
        return stored
    return [f"class {label}" for label in range(num_classes)]


def analyze_results(results: list[Result], classes: list[Sequence[str]], top: int, folder: AnalysisFolder) -> None:
    """Prints and writes tables and charts of each result, and a table of all.

    Args:
        results: of any kinds of labels. What is taken for what is asked where a video has one; otherwise there is the average
            precision of each class.
        classes: names by label, of each result.
        top: hardest videos to list.
        folder: gets the files.

    Raises:
        UserError: a file cannot be written.
    """
    names, rows = short_names([result.path for result in results]), []
    for result, name, of_result in zip(results, names, classes, strict=True):
        analyze = _analyze_single if result.kind == "single" else _analyze_several
        facts, by_class = analyze(result, name, of_result, folder)
        rows.append(_result_row(result, name, facts))
        hardest = _hardest(result, of_result, top)
        shown = Table(by_class.columns, by_class.rows[:_CLASSES_SHOWN])
        console.result(f"{name}: classes, the worst first\n{shown.text()}")
        if len(by_class.rows) > _CLASSES_SHOWN:
            where = f" in classes-{name}.md" if folder.written else ""
            print(f"({len(by_class.rows) - _CLASSES_SHOWN} more{where})")
        console.result(f"\n{name}: videos with the lowest probability of their label\n{hardest.text()}\n")
        folder.table(f"classes-{name}", by_class)
        folder.table(f"hardest-{name}", hardest)
    columns = [("result", ""), ("videos", "d"), ("classes", "d"), ("top-1, %", ".2f"), ("top-5, %", ".2f")]
    columns += [("mean class accuracy, %", ".2f"), ("mAP, %", ".2f"), ("views", ""), ("checkpoint", ""), ("file", "")]
    if all(result.kind == "single" for result in results):
        columns, rows = columns[:6] + columns[7:], [row[:6] + row[7:] for row in rows]
    table = Table(columns, rows)
    console.result(table.text() + "\n")
    folder.table("results", table)


def _analyze_single(
    result: Result, name: str, classes: Sequence[str], folder: AnalysisFolder
) -> tuple[list[float | None], Table]:
    """Returns top-1, top-5, mean class accuracy and None for mAP, per cent, and the table by class."""
    counts = confusion_counts(result.labels, result.guesses(), len(classes))
    confusion, ranks = as_confusion(counts), result.ranks()
    if len(classes) > MOST_IN_FULL:  # the picture has the worst of them only
        folder.table(f"confusion-{name}", _confused_pairs(confusion, classes))
    folder.figure(f"confusion-{name}.png", lambda: confusion_figure(counts, classes))
    folder.figure(f"classes-{name}.png", lambda: class_accuracy_figure(counts, classes))
    scores = [100 * confusion.correct.sum() / len(result.labels), 100 * (ranks < 5).mean()]
    scores.append(100 * np.nanmean(confusion.accuracy))
    return [*map(float, scores), None], _by_class(result, confusion, ranks, classes)


def _analyze_several(
    result: Result, name: str, classes: Sequence[str], folder: AnalysisFolder
) -> tuple[list[float | None], Table]:
    """Returns top-1, top-5, mean class accuracy and mAP, per cent, None where no video has a class; and the table by class."""
    console.result(f"{name}: labels of kind {result.kind}: average precision by class in place of a confusion matrix")
    scores, precision = _scores_of_several(result)
    videos = _has_class(result).sum(0)
    folder.figure(f"classes-{name}.png", lambda: average_precision_figure(precision, videos, classes))
    return scores, _precision_by_class(result, precision, classes)


def _scores_of_several(result: Result) -> tuple[list[float | None], NDArray[np.float64]]:
    """Returns top-1, top-5, mean class accuracy and mAP, and the average precision of each class; all per cent."""
    assert result.targets is not None
    has, ranks = _has_class(result), result.ranks()
    precision = 100 * average_precision(result.probabilities(), lambda some: has[:, some])
    weights, right = (result.targets[rows].sum(0, dtype=np.float64) for rows in (slice(None), ranks < 1))
    accuracy = right[weights > 0] / weights[weights > 0]
    figures = [100 * (ranks[has.any(1)] < k) for k in (1, 5)] + [100 * accuracy, precision[~np.isnan(precision)]]
    return [float(figure.mean()) if len(figure) else None for figure in figures], precision


def _precision_by_class(result: Result, precision: NDArray[np.float64], classes: Sequence[str]) -> Table:
    """Returns the average precision of each class, the worst first, those without a video last; and the best F1 of several."""
    rows: list[list[Any]] = []
    has = _has_class(result)
    thresholds, f1 = best_thresholds(result.probabilities(), lambda some: has[:, some])
    for label in np.argsort(precision, kind="stable").tolist():
        videos = int(has[:, label].sum())
        figures = [float(figure[label]) if videos else None for figure in (precision, 100 * f1, thresholds)]
        rows.append([label, classes[label], videos, *figures[: 3 if result.kind == "several" else 1]])
    columns = [("label", "d"), ("class", ""), ("videos", "d"), ("average precision, %", ".1f")]
    return Table([*columns, *([("best F1, %", ".1f"), ("threshold", ".3f")] if result.kind == "several" else [])], rows)


def _has_class(result: Result) -> NDArray[np.bool_]:
    assert result.targets is not None
    return result.targets > 0


def _result_row(result: Result, name: str, scores: list[float | None]) -> list[Any]:
    facts, flags = (result.summary.get(part) for part in ("result", "flags"))
    views = facts.get("views") if isinstance(facts, dict) else None
    checkpoint = flags.get("checkpoint") if isinstance(flags, dict) else None
    more = [None if value is None else str(value) for value in (views, checkpoint)]
    return [name, len(result.labels), result.scores.shape[1], *scores, *more, str(result.path)]


def _by_class(result: Result, confusion: Confusion, ranks: NDArray[np.int64], classes: Sequence[str]) -> Table:
    """Returns the accuracy of each class, the worst first, those without a video last."""
    accuracy, videos, (confused_with, times) = confusion.accuracy, confusion.videos, confusion.most_confused_with()
    top5 = np.bincount(result.labels, ranks < 5, minlength=confusion.num_classes) / np.maximum(videos, 1)
    rows: list[list[Any]] = []
    for label in np.argsort(accuracy, kind="stable").tolist():
        wrong, number = int(confused_with[label]), int(times[label])
        scores = [100 * float(accuracy[label]), 100 * float(top5[label])] if videos[label] else [None, None]
        rows.append([label, classes[label], int(videos[label]), *scores, classes[wrong] if number else None, number])
    columns = [("label", "d"), ("class", ""), ("videos", "d"), ("top-1, %", ".1f"), ("top-5, %", ".1f")]
    return Table([*columns, ("most often taken for", ""), ("times", "d")], rows)


def _confused_pairs(confusion: Confusion, classes: Sequence[str]) -> Table:
    """Returns the pairs of classes that are confused most often, the most frequent first."""
    pairs = confusion.off_diagonal
    rows = []
    for label, guess, times in zip(
        *(part[:_MIX_UPS].tolist() for part in (pairs.labels, pairs.guesses, pairs.counts)), strict=True
    ):
        videos = int(confusion.videos[label])
        rows.append([label, classes[label], guess, classes[guess], times, videos, 100 * times / videos])
    columns = [("label", "d"), ("class", ""), ("guess", "d"), ("taken for", ""), ("times", "d")]
    return Table([*columns, ("videos of the class", "d"), ("of them, %", ".1f")], rows)


def _hardest(result: Result, classes: Sequence[str], top: int) -> Table:
    """Returns the videos with the lowest probability of their label, of several labels of that which has the lowest."""
    probabilities, guesses, labels = result.probabilities(), result.guesses(), result.labels
    if result.targets is not None:
        labels = np.where(result.targets > 0, probabilities, np.inf).argmin(1)
    videos = np.flatnonzero(result.labels >= 0)
    own = probabilities[videos, labels[videos]]
    rows = [
        [
            result.videos[video],
            classes[labels[video]],
            float(likely),
            classes[guesses[video]],
            float(probabilities[video].max()),
        ]
        for video, likely in ((int(videos[at]), own[at]) for at in np.argsort(own, kind="stable")[:top])
    ]
    columns = [("path", ""), ("label", ""), ("probability of the label", ".4f"), ("guess", "")]
    return Table([*columns, ("probability of the guess", ".4f")], rows)
