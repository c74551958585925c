"""Trackers: programs that keep runs, beside TensorBoard. Which there are, how one is begun, and how a run is found again."""

import contextlib
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from c2d_fast.errors import UserError, on_one_line
from c2d_fast.files import atomic_write
from c2d_fast.formats.schemas import ShapeError, decode_object, encode
from c2d_fast.reporting.tracker_queue import Tracker, TrackerQueue, short_reason

_FILE = "tracker.json"
"""In the run folder: name of a tracker -> the run's id there."""
_REMEDIES = {
    "mlflow": "start the server, or set MLFLOW_TRACKING_URI to one that runs",
    "wandb": "give `wandb login`, or set WANDB_MODE=offline",
}

_DEFAULTS = {
    "mlflow": {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the queue tries again itself, and says so
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    },
    "wandb": {"WANDB_SILENT": "true"},
}
"""What the environment says where the user does not."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run when it begins."""

    folder: Path
    """The run folder; has config.json."""
    parameters: dict[str, str | float | bool]
    """As TensorBoard's hyperparameters."""
    tags: dict[str, str]
    """The run folder's whole path, the recipe's sha256, the command."""


def check_tracker(name: str) -> None:
    """Imports a tracker's package; says early that it is missing: everything else works without.

    Raises:
        UserError: it does not import.
    """
    if name == "tensorboard":
        return
    for variable, value in _DEFAULTS[name].items():  # some are read when the package is imported
        os.environ.setdefault(variable, value)
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"--tracker {name}: its package does not import ({short_reason(error)}); pip install 'c2d-fast[{name}]', or leave "
            "the flag out"
        ) from error


def start_tracker(name: str, folder: Path, config: dict[str, Any], *, resumed: bool) -> TrackerQueue | None:
    """Begins a tracker's run, or goes on with the one that a resumed run had.

    Args:
        name: tensorboard (which Records has: nothing more is begun), mlflow or wandb.
        folder: the run folder; tracker.json is written there.
        config: as config.json has it.
        resumed: whether the run goes on. Its tracker is then not waited for, since it was there before.

    Raises:
        UserError: a new run is not taken.
    """
    if name == "tensorboard":
        return None
    check_tracker(name)
    known = _read(folder)
    run_id = known.get(name) if resumed else None
    begin = partial(_begin(name), _tracked(folder, config), run_id)
    if run_id:
        return TrackerQueue(name, begin)
    try:
        tracker = begin()
    except Exception as error:  # its own errors, those of its HTTP client, of a database
        raise UserError(
            f"--tracker {name}: does not take the run ({short_reason(error)}); {_REMEDIES[name]}, or leave the flag out"
        ) from error
    with contextlib.suppress(OSError), atomic_write(folder / _FILE) as partial_file:  # a full disk is told of elsewhere
        partial_file.write_text(encode((known if resumed else {}) | {name: tracker.run_id}) + "\n")
    return TrackerQueue(name, lambda: tracker)


def _begin(name: str) -> Callable[[TrackedRun, str | None], Tracker]:
    if name == "mlflow":
        from c2d_fast.reporting.mlflow_run import MlflowRun

        return MlflowRun
    from c2d_fast.reporting.wandb_run import WandbRun

    return WandbRun


def _tracked(folder: Path, config: dict[str, Any]) -> TrackedRun:
    from c2d_fast.reporting.tensorboard_writer import hyperparameters

    facts = {"run_folder": folder.absolute(), "recipe_sha256": config.get("recipe_sha256"), "command": config.get("command")}
    # Names of files may be any bytes; services take UTF-8.
    tags = {name: on_one_line(str(fact)).encode(errors="backslashreplace").decode() for name, fact in facts.items()}
    return TrackedRun(folder, hyperparameters(config), tags)


def _read(folder: Path) -> dict[str, str]:
    """Returns the ids of the runs that the folder has in trackers; none where the file is damaged."""
    try:
        found = decode_object((folder / _FILE).read_bytes())
    except (OSError, ShapeError):
        return {}
    return {name: run_id for name, run_id in found.items() if isinstance(run_id, str) and run_id}
