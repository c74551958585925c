"""Reads what a run folder says beside its curves: videos it did without, steps not applied, what bounded it. No torch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from c2d_fast.formats.checksums import strip_checksum
from c2d_fast.formats.schemas import QuarantineEntry, ShapeError, decode_object, quarantine_entry
from c2d_fast.reporting.history import finite, read_machine

FILES = ("metrics.jsonl", "machine.jsonl", "quarantine.jsonl", "nonfinite.jsonl", "profile.txt", "config.json")
"""Files of a run folder that are read, beside config-resumed-*.json."""
_LONGEST_VERDICT = 2000
_WAITING, _GPU_BUSY = 10.0, 85.0  # per cent, as in training/step_profile.py


@dataclass(frozen=True)
class RunNotes:
    """What its files say; of those that are missing or damaged nothing."""

    quarantined: tuple[tuple[str, str, str], ...]
    """Videos that broke while they were read, each with its list (train, val) and why. Forgotten ones are not there."""
    skipped: tuple[int, ...]
    """Steps that were not applied."""
    verdict: str
    """Of a profile (training/step_profile.py)."""
    machine: dict[str, float]
    """Of each figure of machine.jsonl the median."""

    def bound(self, data_wait_percent: float | None) -> str:
        """Returns a sentence on what bounded the speed.

        Args:
            data_wait_percent: of the time, the median; None if it is not known.
        """
        if self.verdict:
            return self.verdict
        if data_wait_percent is None:
            return "not known: no speed is recorded"
        waiting, gpu = f"{data_wait_percent:.0f} % of the time was waiting for data", self.machine.get("gpu_percent")
        if data_wait_percent > _WAITING:
            return f"the loader: {waiting}"
        if gpu is None:
            return f"the model: {waiting}"
        if gpu < _GPU_BUSY:
            return f"perhaps the host: {waiting}, and the GPU was busy for {gpu:.0f} % of it; a profile of training steps tells"
        return f"the model: {waiting}, and the GPU was busy for {gpu:.0f} % of it"


def read_notes(folder: Path) -> RunNotes:
    """Reads them. Nothing is written or locked: the run may be going on."""
    machine = {name: float(np.median(finite(values))) for name, values in read_machine(folder).items() if len(finite(values))}
    return RunNotes(_quarantined(folder / "quarantine.jsonl"), _skipped(folder / "nonfinite.jsonl"), _verdict(folder), machine)


def _quarantined(path: Path) -> tuple[tuple[str, str, str], ...]:
    held: dict[tuple[str, str], str] = {}
    for line in _lines(path):
        try:
            text = strip_checksum(line)[0]
            value = decode_object(text)
            entry: QuarantineEntry = quarantine_entry(value)
        except ShapeError:  # the header, or a line that is damaged
            continue
        if entry.forgotten:
            held.clear()
        else:
            held[entry.list, entry.path] = str(value.get("reason", "")) or "not said"
    return tuple((kind, video, reason) for (kind, video), reason in held.items())


def _skipped(path: Path) -> tuple[int, ...]:
    steps = set()
    for line in _lines(path):
        try:
            step = decode_object(line).get("step")
        except ShapeError:
            continue
        if type(step) is int:
            steps.add(step)
    return tuple(sorted(steps))


def _verdict(folder: Path) -> str:
    lines = _lines(folder / "profile.txt")
    return " ".join(lines[0].decode(errors="replace").split())[:_LONGEST_VERDICT] if lines else ""


def _lines(path: Path) -> list[bytes]:
    try:
        return [line for line in path.read_bytes().split(b"\n") if line] if path.is_file() else []
    except OSError:
        return []
