"""The settings that the stage loaders sweeps, in the order of what they tell; and the best of them."""

import json
import os
from pathlib import Path
from typing import Any

BATCH = 32
"""Of the recipes on a GPU."""


def swept(*, rehearse: bool) -> list[dict[str, Any]]:
    """Returns combinations as throughput.py's --sweep has them."""
    base = _base(rehearse=rehearse)
    ffmpeg, hybrid = base | {"decoder": "ffmpeg", "decoder-threads": 1}, base | {"decoder": "hybrid"}
    stored = {"form": "stored"}
    rows = [
        base,
        ffmpeg,
        base | stored,
        ffmpeg | stored,
        hybrid,
        hybrid | stored,
        base | {"cropping": "kept"},
        base | {"batch-size": 2 * base["batch-size"]},
    ]
    if rehearse:
        return [base, ffmpeg, base | stored, hybrid, base | {"cropping": "kept"}]
    grid = [
        base | {"decoder-threads": threads, "batch-size": batch, "workers": workers}
        for threads in (32, 8, 16)
        for batch in (BATCH, 2 * BATCH)
        for workers in (base["workers"], min(8, base["workers"]))
    ]
    whole = base | stored | {"read": "files"}
    # The first of the grid tell whether threads or workers are short; whole files are slow, and known to be.
    rows += [*grid[:3], whole, *grid[3:]]
    return [dict(row) for row in dict.fromkeys(tuple(row.items()) for row in rows)]


def needs_nvdec(row: dict[str, Any]) -> bool:
    """Says whether a combination can be measured only where NVDEC works."""
    return row["decoder"] in ("nvdec", "hybrid")


def best(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the fastest combination of each form, with its share where two decoders work."""
    found: dict[str, dict[str, Any]] = {}
    for row in sorted((row for row in rows if "clips_per_s" in row), key=lambda row: row["clips_per_s"]):
        found[row["form"]] = {key: row[key] for key in (*_base(rehearse=False), "hybrid_share") if key in row}
    return found


def for_training(out: Path, batch_size: int, *, rehearse: bool) -> tuple[dict[str, Any], str]:
    """Returns the combination to train with, batches of a size, and where it is from."""
    path = out / "gpu-loaders.json"
    known = json.loads(path.read_text()).get("best", {}) if path.exists() else {}
    chosen, source = known.get("intra"), str(path)
    if chosen is None:
        chosen, source = _base(rehearse=rehearse) | {"decoder": "auto"}, "no loaders have been measured"
    together = chosen["batch-size"]
    return chosen | {"batch-size": batch_size, "decode-batch": together if together > batch_size else 0}, source


def nvdec_fails(out: Path) -> str:
    """Returns what the stage decode has seen go wrong; nothing where it has not run, or NVDEC works."""
    path = out / "gpu-decode.json"
    verdict = json.loads(path.read_text()).get("nvdec", "") if path.exists() else ""
    return verdict if verdict.startswith("failed") else ""


def _base(*, rehearse: bool) -> dict[str, Any]:
    cpus = len(os.sched_getaffinity(0))
    chosen = {"form": "intra", "decoder": "nvdec", "workers": min(16, cpus), "decoder-threads": 16, "batch-size": BATCH}
    if rehearse:
        chosen |= {"decoder": "dali", "workers": 2, "decoder-threads": 2, "batch-size": 4}
    return chosen | {"read": "clips", "cropping": "cleared"}
