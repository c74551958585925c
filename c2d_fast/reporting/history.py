"""Reads what a run has left behind in its folder: its records and its configuration, however much of them there is."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.formats.schemas import ShapeError, decode_object

_LONGEST_LINE = 2**20
_FIGURES: tuple[str, ...] = ("loss", "top1", "top5", "mAP", "lr", "gradient_norm", "clips_per_s", "data_wait_percent")
_FIGURES += ("joules_per_clip", "epoch_joules")
_MOST_FIGURES = 100
_MOST = 1e15
"""What is larger is no figure to draw."""


@dataclass(frozen=True)
class History:
    """A run."""

    folder: Path
    configs: tuple[dict[str, Any], ...]
    """As the run was begun, and as it was gone on with; empty where there is none."""
    train: dict[str, NDArray[np.float64]]
    """step, epoch, time_s, and what else was recorded: arrays of one length, nan where a figure is missing."""
    validation: dict[str, NDArray[np.float64]]

    def has_record(self) -> bool:
        """Says whether anything is recorded."""
        return bool(len(self.train["step"]) or len(self.validation["step"]))

    def fact(self, *path: str) -> Any:
        """Returns what the newest configuration says of something, None if nothing."""
        return (self.facts(*path) or [None])[-1]

    def facts(self, *path: str) -> list[Any]:
        """Returns the different things that the configurations say of something, the oldest first."""
        found: list[Any] = []
        for config in self.configs:
            value: Any = config
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None and value not in found[-1:]:
                found.append(value)
        return found

    def reference(self) -> tuple[float, str] | None:
        """Returns the top-1 that the recipe is known to reach, in per cent, and what it is; None where nothing is known."""
        places = {("published", "top1"): "published (10x3)", ("expected_top1",): "expected"}
        for place, what in places.items():
            top1 = self.fact("recipe", *place)
            if type(top1) in (int, float) and 0 <= top1 <= 100:
                return float(top1), what
        return None

    def epochs_done(self) -> int | None:
        """Returns how many epochs are over: validated, or followed by another. None without a record."""
        epochs = finite(np.concatenate([self.validation["epoch"], self.train["epoch"] - 1]))
        return int(epochs.max()) if len(epochs) else None

    def seconds(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Returns when the training records were made, while the run was going on.

        Returns:
            Seconds since the first record, without the time in which nothing ran; and bool, whether the run was interrupted
            before the record.
        """
        times = np.concatenate([self.train["time_s"], self.validation["time_s"]])
        is_train = np.arange(len(times)) < len(self.train["time_s"])
        order = np.lexsort((~is_train, times))  # nan last
        passed = np.maximum(np.diff(times[order], prepend=times[order][:1]), 0)
        usual = np.full(len(times), np.nan)
        for kind in (True, False):
            these = is_train[order] == kind
            if np.isfinite(passed[these]).any():
                usual[these] = np.nanmedian(passed[these])
        breaks = passed > np.maximum(60, 10 * usual)
        passed = np.where(breaks, np.minimum(passed, usual), passed)
        elapsed, interrupted = np.empty(len(times)), np.empty(len(times), dtype=bool)
        elapsed[order], interrupted[order] = np.cumsum(passed), breaks
        return elapsed[is_train], interrupted[is_train]

    def duration_s(self) -> float | None:
        """Returns the seconds from the first training record to the last, without interruptions."""
        elapsed = self.seconds()[0]
        elapsed = elapsed[np.isfinite(elapsed)]
        return float(elapsed.max()) if len(elapsed) else None


def read_history(folder: Path) -> History:
    """Reads a run folder. What is damaged in its files is left out, and so is what this version does not know.

    Raises:
        UserError: it is no run folder, or cannot be read.
    """
    if not (folder / "metrics.jsonl").is_file():
        raise UserError(f"{folder}: is no run folder, it has no metrics.jsonl; give run folders, or what test --dump wrote")
    try:
        lines = _lines(folder / "metrics.jsonl")
        resumed = sorted(folder.glob("config-resumed-*.json"))
        configs = [_config(path) for path in (folder / "config.json", *resumed) if path.is_file()]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}: {error.filename})") from error
    return History(folder, tuple(config for config in configs if config), _arrays(lines, "train"), _arrays(lines, "val"))


def read_machine(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Reads what machine.jsonl of a run folder has recorded, as History.train; of one that cannot be read nothing."""
    try:
        return _arrays(_lines(folder / "machine.jsonl"), "machine")
    except OSError:
        return {}


def finite(values: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Returns those values that are numbers."""
    return np.empty(0) if values is None else values[np.isfinite(values)]


def _lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_bytes().decode(errors="replace")
    return [line for line in map(_line, text.split("\n")) if line]


def _config(path: Path) -> dict[str, Any]:
    try:
        return decode_object(path.read_bytes())
    except ShapeError:  # a killed process leaves none unfinished, but a copy may be cut off
        return {}


def _line(line: str) -> dict[str, Any] | None:
    """Returns a record, None for a line that is none: a killed process may leave its last one unfinished."""
    try:
        record = decode_object(line, _LONGEST_LINE) if line else {}
    except ShapeError:
        return None
    return record if math.isfinite(_number(record.get("step"))) else None


def _arrays(lines: list[dict[str, Any]], kind: str) -> dict[str, NDArray[np.float64]]:
    by_step = {_number(line["step"]): line for line in lines if line.get("kind") == kind}  # of a step taken again the last
    records = [by_step[step] for step in sorted(by_step)]
    keys = {"step", "epoch", "time_s", *(key for record in records for key in record)} - {"kind"}
    if len(keys) > _MOST_FIGURES:  # ours have a dozen: of lines that all name others there would be a table of each by each
        keys = {"step", "epoch", "time_s", *_FIGURES} & keys
    return {key: np.array([_number(record.get(key)) for record in records], dtype=np.float64) for key in keys}


def _number(value: Any) -> float:
    """Returns a figure, nan for what is none."""
    return float(value) if type(value) in (int, float) and -_MOST < value < _MOST else math.nan
