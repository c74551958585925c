"""Reads runs and results, and writes charts and tables of them."""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast import console
from c2d_fast.commands.analysis_folder import DUMPS, AnalysisFolder, short_names
from c2d_fast.commands.analyze_results import analyze_results, class_names, read_results
from c2d_fast.errors import UserError
from c2d_fast.lists.label_map import read_label_map
from c2d_fast.reporting.charts import encode_png
from c2d_fast.reporting.curves import Line, Panel, curves_figure
from c2d_fast.reporting.history import History, finite, read_history
from c2d_fast.tables import Table

_CURVES = {"loss": "loss", "top1": "top-1, %", "top5": "top-5, %", "mAP": "mAP, %", "lr": "learning rate"}
_CURVES |= {"gradient_norm": "gradient norm, before clipping"}
_SPEED = {"clips_per_s": "clips/s", "data_wait_percent": "waiting for data, % of the time"}
_SPEED |= {"joules_per_clip": "energy of the GPUs, J for each clip"}


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
    results = read_results([path for path, run in zip(args.paths, is_run, strict=True) if not run])
    names = [class_names(result, classes, args.label_map) for result in results]
    folder = AnalysisFolder(args.out)
    if runs:
        _analyze_runs(runs, folder)
    if results:
        analyze_results(results, names, args.top, folder)
    print("\n".join(f"written: {path}" for path in folder.written))


def _is_run(path: Path) -> bool:
    try:
        if path.is_dir():
            return True
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; give run folders, or what test --dump wrote")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix not in DUMPS or not path.is_file():
        raise UserError(f"{path}: is neither a run folder nor a file that ends in .pkl or .json, as test --dump writes them")
    return False


def _analyze_runs(runs: list[History], folder: AnalysisFolder) -> None:
    names = short_names([run.folder for run in runs])
    for run in runs:
        if not (len(run.train["step"]) or len(run.validation["step"])):
            console.result(f"note: {run.folder} has no record yet, or none that is whole")
    columns = [("run", ""), ("recipe", ""), ("epochs done", "d"), ("of", "d"), ("steps", "d"), ("best top-1, %", ".2f")]
    columns += [("in epoch", "d"), ("last top-1, %", ".2f"), ("last top-5, %", ".2f"), ("train loss", ".3f")]
    columns += [("clips/s", ".1f"), ("data wait, %", ".1f"), ("hours", ".3f"), ("global batch", ""), ("lr", "")]
    columns += [("precision", ""), ("seed", ""), ("machine", ""), ("resumed", "d"), ("folder", "")]
    rows = [_run_row(run, name) for run, name in zip(runs, names, strict=True)]
    if any("mAP" in run.validation for run in runs):
        columns += [("best mAP, %", ".2f"), ("last mAP, %", ".2f")]
        rows = [
            [*row, _best(run.validation.get("mAP")), _last(run.validation.get("mAP"))]
            for row, run in zip(rows, runs, strict=True)
        ]
    if any("joules_per_clip" in run.train for run in runs):
        columns += [("J/clip", ".2f"), ("kJ/epoch", ".1f")]
        rows = [[*row, *_energy(run)] for row, run in zip(rows, runs, strict=True)]
    table = Table(columns, rows)
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


def _energy(run: History) -> list[float | None]:
    """Returns medians: joules of the GPUs for each clip, and kilojoules for each epoch's training steps."""
    epoch = _median(run.train.get("epoch_joules"))
    return [_median(run.train.get("joules_per_clip")), None if epoch is None else epoch / 1000]


def _changes(facts: list[Any]) -> str | None:
    """Returns a fact; where a resumption has changed it, all that it has been."""
    return " > ".join(f"{fact:g}" if type(fact) is float else str(fact)[:60] for fact in facts) or None


def _last(values: NDArray[np.float64] | None) -> float | None:
    return float(finite(values)[-1]) if len(finite(values)) else None


def _best(values: NDArray[np.float64] | None) -> float | None:
    return float(finite(values).max()) if len(finite(values)) else None


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
    for key, name in _SPEED.items():
        lines = []
        for index, (run, (elapsed, interrupted)) in enumerate(zip(runs, times, strict=True)):
            if key in run.train:
                breaks = np.flatnonzero(interrupted)
                y = np.insert(run.train[key], breaks, np.nan)
                lines.append(Line(index, np.insert(elapsed, breaks, elapsed[breaks]) / seconds, y))
        panels.append(Panel(name, title, lines, from_zero=True))
    return panels
