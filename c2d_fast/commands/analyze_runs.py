"""Of `analyze`: charts and tables of runs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast import console
from c2d_fast.commands.analysis_folder import AnalysisFolder, short_names
from c2d_fast.reporting.curves import Line, Panel, curves_figure
from c2d_fast.reporting.history import History, finite
from c2d_fast.tables import Table

_CURVES = {"loss": "loss", "top1": "top-1, %", "top5": "top-5, %", "mAP": "mAP, %", "lr": "learning rate"}
_CURVES |= {"gradient_norm": "gradient norm, before clipping"}
_SPEED = (
    ("clips_per_s", "clips/s"),
    ("data_wait_percent", "waiting for data, % of the time"),
    ("joules_per_clip", "energy of the GPUs, J for each clip"),
)


def analyze_runs(runs: list[History], folder: AnalysisFolder) -> None:
    """Prints and writes a table of runs, and charts of their curves and speed.

    Raises:
        UserError: a file cannot be written.
    """
    names = short_names([run.folder for run in runs])
    for run in runs:
        if not run.has_record():
            console.result(f"note: {run.folder} has no record yet, or none that is whole")
    table = runs_table(runs, names)
    console.result(table.text() + "\n")
    folder.table("runs", table)
    if panels := curve_panels(runs):
        folder.figure("curves.png", lambda: curves_figure(panels, names))
    if of_speed := speed_panels(runs):
        folder.figure("speed.png", lambda: curves_figure(of_speed, names, columns=1, wide=2))


def runs_table(runs: list[History], names: list[str]) -> Table:
    """Returns what decided each run and what became of it, a row each."""
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
    return Table(columns, rows)


def curve_panels(runs: list[History]) -> list[Panel]:
    """Returns the curves of all runs over each other, a panel for each figure that one of them has."""
    return [panel for panel in (_curves(runs, *pair) for pair in _CURVES.items()) if not panel.is_empty()]


def speed_panels(runs: list[History]) -> list[Panel]:
    """Returns clips/s, waiting for data and energy over time, as far as they are recorded."""
    return [panel for panel in _speed(runs) if not panel.is_empty()]


def _run_row(run: History, name: str) -> list[Any]:
    top1, epochs = run.validation.get("top1"), run.validation["epoch"]
    best, best_epoch = None, None
    if top1 is not None and len(finite(top1)):
        index = int(np.nanargmax(top1))
        best, best_epoch = float(top1[index]), int(epochs[index]) if np.isfinite(epochs[index]) else None
    steps = np.concatenate([run.train["step"], run.validation["step"]])
    duration_s, planned = run.duration_s(), run.fact("used", "epochs")
    gpu, ranks = run.fact("machine", "gpu"), run.fact("used", "ranks")
    host = changes(run.facts("machine", "host"))
    return [
        name,
        changes(run.facts("recipe", "name")),
        run.epochs_done(),
        planned if type(planned) is int else None,
        int(steps.max()) if len(steps) else None,
        best,
        best_epoch,
        _last(top1),
        _last(run.validation.get("top5")),
        _last(run.train.get("loss")),
        median(run.train.get("clips_per_s")),
        median(run.train.get("data_wait_percent")),
        None if duration_s is None else duration_s / 3600,
        *(changes(run.facts("used", key)) for key in ("global_batch", "base_lr", "precision")),
        changes(run.facts("flags", "seed")),
        f"{ranks} x {changes(run.facts('machine', 'gpu'))}" if gpu and ranks else host and f"CPU of {host}",
        max(len(run.configs) - 1, 0),
        str(run.folder),
    ]


def _energy(run: History) -> list[float | None]:
    """Returns medians: joules of the GPUs for each clip, and kilojoules for each epoch's training steps."""
    epoch = median(run.train.get("epoch_joules"))
    return [median(run.train.get("joules_per_clip")), None if epoch is None else epoch / 1000]


def changes(facts: list[Any]) -> str | None:
    """Returns a fact; where a resumption has changed it, all that it has been."""
    return " > ".join(f"{fact:g}" if type(fact) is float else str(fact)[:60] for fact in facts) or None


def _last(values: NDArray[np.float64] | None) -> float | None:
    return float(finite(values)[-1]) if len(finite(values)) else None


def _best(values: NDArray[np.float64] | None) -> float | None:
    return float(finite(values).max()) if len(finite(values)) else None


def median(values: NDArray[np.float64] | None) -> float | None:
    """Returns the median of those values that are numbers; None of none."""
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
