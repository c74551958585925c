"""A run's folder: found or made, and what it says of the run."""

import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.formats.schemas import encode
from c2d_fast.versions import installed_dali, version_of

_PACKAGES = ("torch", "torchvision", "numpy", "av", "tensorboard")


def choose_folder(out: Path | None, resume: str | None, name: str, restarts: int = 0) -> tuple[Path, Path | None]:
    """Decides where a run writes and what it resumes from.

    Args:
        out: --out.
        resume: --resume: None, auto, or the path of a checkpoint or run folder.
        name: of the recipe.
        restarts: how often torchrun has started the run again.

    Returns:
        The run folder (it may not exist yet), and the checkpoint to resume from, a run folder for its newest one, or None.

    Raises:
        UserError: there is nothing to resume, or it would be resumed into another run's folder.
    """
    try:
        return _choose_folder(out, resume, name, restarts)
    except OSError as error:  # a name that is too long, a folder that may not be searched
        raise UserError(f"--out {out}, --resume {resume}: {error.strerror}; give other paths") from error


def _choose_folder(out: Path | None, resume: str | None, name: str, restarts: int) -> tuple[Path, Path | None]:
    if os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0" and not out:
        raise UserError(
            "--out is missing: torchrun may start this run again (--max-restarts), which must find its folder; give one"
        )
    if restarts and out and holds_run(out):
        resume = "auto"  # whatever it began from
    if resume is None:
        return out or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}", None
    if resume == "auto":
        folder = out or _newest_run(name)
        return folder, folder if holds_run(folder) else None
    path = Path(resume)
    if not path.is_file() and not (path.is_dir() and holds_run(path)):
        raise UserError(f"--resume {resume}: no such checkpoint; give a run folder, its last.pt or best.pt, or auto")
    theirs = path if path.is_dir() else path.parent
    folder = out or theirs
    if holds_run(folder) and folder.resolve() != theirs.resolve():
        raise UserError(f"--out {folder}: holds another run than {path}; give another folder, or resume the one that is there")
    return folder, path


def holds_run(folder: Path) -> bool:
    """Says whether a folder has checkpoints of a run."""
    return (folder / "last.pt").exists() or any(folder.glob("step-*.pt"))


def check_holds_none(folder: Path) -> None:
    """Refuses a folder for a new run.

    Raises:
        UserError: it holds a run.
    """
    if holds_run(folder):
        raise UserError(f"--out {folder}: holds a run already; go on with it with --resume auto, or give another folder")


def check_folder(folder: Path) -> None:
    """Says early, without making anything, that a run folder cannot be made.

    Raises:
        UserError: something on its path is no folder, or not writable.
    """
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
    if not above.is_dir():
        raise UserError(f"--out {folder}: cannot be made, {above} is not a folder; give another folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"--out {folder}: cannot be made or written to, {above} is not writable; give another folder")


def make_folder(folder: Path) -> None:
    """Makes the run folder.

    Raises:
        UserError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be made or written to ({error.strerror}); give another folder") from error


def describe_run(args: dict[str, Any], **facts: Any) -> dict[str, Any]:
    """Returns all that is needed to understand a run later: flags, versions, machine, command line, and further facts."""
    versions = {name: version_of(name) or "unknown" for name in _PACKAGES}
    versions |= installed_dali() | {"python": platform.python_version()}
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "command": shlex.join([sys.executable, *sys.orig_argv[1:]]),
        "flags": {key: str(value) if isinstance(value, Path) else value for key, value in args.items()},
        "versions": versions,
        "machine": {"host": platform.node(), "system": platform.platform(), "gpu": gpu},
        **facts,
    }


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Writes config.json; a resumed run's stands beside the first one's, as config-resumed-<time>.json."""
    path = folder / "config.json"
    if path.exists():
        path = folder / f"config-resumed-{time.strftime('%Y%m%d-%H%M%S')}.json"
    try:
        with atomic_write(path) as partial:
            partial.write_text(encode(config, indent=2) + "\n")
    except OSError as error:
        raise UserError(
            f"--out {folder}: {path.name} cannot be written ({error.strerror}); free the disk or give another folder"
        ) from error


def _newest_run(name: str) -> Path:
    runs = sorted(Path("runs").glob(f"{name}-*/last.pt"), key=lambda path: path.stat().st_mtime)
    return runs[-1].parent if runs else Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
