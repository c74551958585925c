"""Reads runs and results, and writes charts and tables of them."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast import console
from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.lists.label_map import read_label_map
from c2d_fast.reporting.charts import class_accuracy_figure, confusion_figure, encode_png
from c2d_fast.reporting.confusion import MOST_IN_FULL, Confusion, as_confusion, confusion_counts
from c2d_fast.reporting.curves import Line, Panel, curves_figure
from c2d_fast.reporting.dump_file import Result, read_dump
from c2d_fast.reporting.history import History, finite, read_history
from c2d_fast.tables import Table

_CLASSES_SHOWN, _MIX_UPS = 40, 1000
_DUMPS = (".pkl", ".json")
_CURVES = {"loss": "loss", "top1": "top-1, %", "top5": "top-5, %", "lr": "learning rate"}
_CURVES |= {"gradient_norm": "gradient norm, before clipping"}
_SPEED = (("clips_per_s", "clips/s"), ("data_wait_percent", "waiting for data, % of the time"))


def run_analyze(args: argparse.Namespace) -> None:
    """Analyzes as the flags of `c2d_fast.analyze` say.

    Raises:
        UserError: anything that the user can mend.
    """
    if os.path.lexists(args.out) and not args.out.is_dir():
        raise UserError(f"--out {args.out}: is not a folder; give another")
    classes = read_label_map(args.label_map) if args.label_map else None
    is_run = [_is_run(path) for path in args.paths]
    runs = [read_history(path) for path, run in zip(args.paths, is_run, strict=True) if run]
    results = [read_dump(path) for path, run in zip(args.paths, is_run, strict=True) if not run]
    names = [_class_names(result, classes, args.label_map) for result in results]
    folder = _Folder(args.out)
    if runs:
        _analyze_runs(runs, folder)
    if results:
        _analyze_results(results, names, args.top, folder)
    print("\n".join(f"written: {path}" for path in folder.written))


def short_names(paths: Sequence[Path]) -> list[str]:
    """Returns the ends of paths that tell them apart, as one word each that may be part of a file's name."""
    paths = [path.resolve() for path in paths]
    words = [[*path.parts[1:-1], path.stem if path.suffix in _DUMPS else path.name] for path in paths]
    for length in (1, 2, 3):
        names = [_word("-".join(of_path[-length:])) for of_path in words]
        if len({name.lower() for name in names}) == len(names):  # some file systems know no case
            return names
    return [f"{name}-{number}" for number, name in enumerate(map(_word, (path.name for path in paths)), 1)]


def _word(name: str) -> str:
    return "".join(sign if sign.isprintable() and sign != os.sep else "_" for sign in name)[-50:]


class _Folder:
    """Where the files go."""

    def __init__(self, path: Path):
        self.written: list[Path] = []
        self._path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {path}: cannot be made ({error.strerror}); give another folder") from error

    def write(self, name: str, data: bytes) -> None:
        path = self._path / name
        try:
            with atomic_write(path) as partial:
                partial.write_bytes(data)
        except OSError as error:
            raise UserError(f"--out: {path} cannot be written ({error.strerror}); free the disk or give another") from error
        self.written.append(path)

    def table(self, name: str, table: Table) -> None:
        for suffix, text in ((".md", table.markdown()), (".csv", table.csv())):
            self.write(name + suffix, text.encode(errors="backslashreplace"))  # names of files may be any bytes


def _is_run(path: Path) -> bool:
    try:
        if path.is_dir():
            return True
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; give run folders, or what test --dump wrote")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix not in _DUMPS or not path.is_file():
        raise UserError(f"{path}: is neither a run folder nor a file that ends in .pkl or .json, as test --dump writes them")
    return False


def _analyze_runs(runs: list[History], folder: _Folder) -> None:
    names = short_names([run.folder for run in runs])
    for run in runs:
        if not (len(run.train["step"]) or len(run.validation["step"])):
            console.result(f"note: {run.folder} has no record yet, or none that is whole")
    columns = [("run", ""), ("recipe", ""), ("epochs done", "d"), ("of", "d"), ("steps", "d"), ("best top-1, %", ".2f")]
    columns += [("in epoch", "d"), ("last top-1, %", ".2f"), ("last top-5, %", ".2f"), ("train loss", ".3f")]
    columns += [("clips/s", ".1f"), ("data wait, %", ".1f"), ("hours", ".3f"), ("global batch", ""), ("lr", "")]
    columns += [("precision", ""), ("seed", ""), ("machine", ""), ("resumed", "d"), ("folder", "")]
    table = Table(columns, [_run_row(run, name) for run, name in zip(runs, names, strict=True)])
    console.result(table.text() + "\n")
    folder.table("runs", table)
    panels = [panel for panel in (_curves(runs, *pair) for pair in _CURVES.items()) if not panel.is_empty()]
    if panels:
        folder.write("curves.png", encode_png(curves_figure(panels, names)))
    panels = [panel for panel in _speed(runs) if not panel.is_empty()]
    if panels:
        folder.write("speed.png", encode_png(curves_figure(panels, names, columns=1, wide=2)))


def _run_row(run: History, name: str) -> list[Any]:
    top1, epochs = run.validation.get("top1"), run.validation["epoch"]
    best, best_epoch = None, None
    if top1 is not None and len(finite(top1)):
        index = int(np.nanargmax(top1))
        best, best_epoch = float(top1[index]), int(epochs[index]) if np.isfinite(epochs[index]) else None
    steps = np.concatenate([run.train["step"], run.validation["step"]])
    duration_s, planned = run.duration_s(), run.fact("used", "epochs")
    gpu, ranks = run.fact("machine", "gpu"), run.fact("used", "ranks")
    host = _changes(run.facts("machine", "host"))
    return [
        name,
        _changes(run.facts("recipe", "name")),
        run.epochs_done(),
        planned if type(planned) is int else None,
        int(steps.max()) if len(steps) else None,
        best,
        best_epoch,
        _last(top1),
        _last(run.validation.get("top5")),
        _last(run.train.get("loss")),
        _median(run.train.get("clips_per_s")),
        _median(run.train.get("data_wait_percent")),
        None if duration_s is None else duration_s / 3600,
        *(_changes(run.facts("used", key)) for key in ("global_batch", "base_lr", "precision")),
        _changes(run.facts("flags", "seed")),
        f"{ranks} x {_changes(run.facts('machine', 'gpu'))}" if gpu and ranks else host and f"CPU of {host}",
        max(len(run.configs) - 1, 0),
        str(run.folder),
    ]


def _changes(facts: list[Any]) -> str | None:
    """Returns a fact; where a resumption has changed it, all that it has been."""
    return " > ".join(f"{fact:g}" if type(fact) is float else str(fact)[:60] for fact in facts) or None


def _last(values: NDArray[np.float64] | None) -> float | None:
    return float(finite(values)[-1]) if len(finite(values)) else None


def _median(values: NDArray[np.float64] | None) -> float | None:
    return float(np.median(finite(values))) if len(finite(values)) else None


def _curves(runs: list[History], key: str, title: str) -> Panel:
    lines = []
    for index, run in enumerate(runs):
        for records, is_validation in ((run.train, False), (run.validation, True)):
            if key in records:
                lines.append(Line(index, records["step"], records[key], is_validation))
    values = np.concatenate([np.empty(0), *(finite(line.y) for line in lines)])
    log = key in ("lr", "gradient_norm") and len(values) > 0 and values.min() > 0 and values.max() > 20 * np.median(values)
    log = log or (key == "lr" and len(values) > 0 and values.min() > 0 and values.max() > 5 * values.min())
    levels = {}
    if key == "top1":
        for run in runs:
            if reference := run.reference():
                levels[reference[0]] = f"{reference[1]}, {run.fact('recipe', 'name')}: {reference[0]:.2f} %"
    return Panel(title, "step", lines, tuple(levels.items()), log=bool(log), from_zero=key == "lr" and not log)


def _speed(runs: list[History]) -> list[Panel]:
    times = [run.seconds() for run in runs]
    longest = max([0.0, *(float(elapsed.max()) for elapsed, _ in times if np.isfinite(elapsed).any())])
    unit, seconds = ("hours", 3600) if longest > 7200 else ("minutes", 60) if longest > 180 else ("seconds", 1)
    title = f"{unit} since the first record, interruptions left out"
    panels = []
    for key, name in _SPEED:
        lines = []
        for index, (run, (elapsed, interrupted)) in enumerate(zip(runs, times, strict=True)):
            if key in run.train:
                breaks = np.flatnonzero(interrupted)
                y = np.insert(run.train[key], breaks, np.nan)
                lines.append(Line(index, np.insert(elapsed, breaks, elapsed[breaks]) / seconds, y))
        panels.append(Panel(name, title, lines, from_zero=True))
    return panels


def _class_names(result: Result, names: Sequence[str] | None, label_map: str | None) -> Sequence[str]:
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


def _analyze_results(results: list[Result], classes: list[Sequence[str]], top: int, folder: _Folder) -> None:
    names = short_names([result.path for result in results])
    rows = []
    for result, name, of_result in zip(results, names, classes, strict=True):
        counts = confusion_counts(result.labels, result.guesses(), len(of_result))
        confusion, ranks = as_confusion(counts), result.ranks()
        rows.append(_result_row(result, name, confusion, ranks))
        by_class, hardest = _by_class(result, confusion, ranks, of_result), _hardest(result, of_result, top)
        shown = Table(by_class.columns, by_class.rows[:_CLASSES_SHOWN])
        console.result(f"{name}: classes, the worst first\n{shown.text()}")
        if len(by_class.rows) > _CLASSES_SHOWN:
            print(f"({len(by_class.rows) - _CLASSES_SHOWN} more in classes-{name}.md)")
        console.result(f"\n{name}: videos with the lowest probability of their label\n{hardest.text()}\n")
        folder.table(f"classes-{name}", by_class)
        folder.table(f"hardest-{name}", hardest)
        if len(of_result) > MOST_IN_FULL:  # the picture has the worst of them only
            folder.table(f"confusion-{name}", _confused_pairs(confusion, of_result))
        folder.write(f"confusion-{name}.png", encode_png(confusion_figure(counts, of_result)))
        folder.write(f"classes-{name}.png", encode_png(class_accuracy_figure(counts, of_result)))
    columns = [("result", ""), ("videos", "d"), ("classes", "d"), ("top-1, %", ".2f"), ("top-5, %", ".2f")]
    columns += [("mean class accuracy, %", ".2f"), ("views", ""), ("checkpoint", ""), ("file", "")]
    table = Table(columns, rows)
    console.result(table.text() + "\n")
    folder.table("results", table)


def _result_row(result: Result, name: str, confusion: Confusion, ranks: NDArray[np.int64]) -> list[Any]:
    facts, flags = (result.summary.get(part) for part in ("result", "flags"))
    views = facts.get("views") if isinstance(facts, dict) else None
    checkpoint = flags.get("checkpoint") if isinstance(flags, dict) else None
    scores = [100 * confusion.correct.sum() / len(result.labels), 100 * (ranks < 5).mean()]
    scores.append(100 * np.nanmean(confusion.accuracy))
    more = [None if value is None else str(value) for value in (views, checkpoint)]
    return [name, len(result.labels), confusion.num_classes, *map(float, scores), *more, str(result.path)]


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
    probabilities, guesses = result.probabilities(), result.guesses()
    videos = np.arange(len(guesses))
    own, best = probabilities[videos, result.labels], probabilities[videos, guesses]
    rows = [
        [result.videos[video], classes[result.labels[video]], float(own[video]), classes[guesses[video]], float(best[video])]
        for video in np.argsort(own, kind="stable")[:top].tolist()
    ]
    columns = [("path", ""), ("label", ""), ("probability of the label", ".4f"), ("guess", "")]
    return Table([*columns, ("probability of the guess", ".4f")], rows)
