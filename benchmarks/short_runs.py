"""Short training runs through the real commands, many of them: in a few processes that live on, each with one thread."""

import atexit
import contextlib
import gc
import io
import json
import multiprocessing
import multiprocessing.util
import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from c2d_fast.recipe import Recipe

HERE = Path(__file__).parent
_PIPE = """import sys

sys.path.append({folder!r})  # of narrow_trunk, which makes its depth known
import narrow_trunk

from c2d_fast.recipe import Augment, Clip, Crop, Distill, Labels, Model, Published, Recipe, Training
from dali_pipes.k400_8x8 import eval_pipe, train_pipe

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]

RECIPE = {recipe!r}
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training and its score: of the last epoch's weights, so that nothing is chosen by the score."""

    name: str
    recipe: Recipe
    seed: int
    train: Path
    """List or manifest."""
    val: Path
    out: Path
    """The run folder; a checkpoint stays in it, and the videos' scores."""
    teacher: Path | None = None
    """A checkpoint."""
    flags: tuple[str, ...] = field(default=())
    """Further ones of `train`."""

    @property
    def checkpoint(self) -> Path:
        """Returns where the trained weights are."""
        return self.out / "last.pt"


def write_pipe(recipe: Recipe, path: Path) -> Path:
    """Writes a recipe as a pipe file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_PIPE.format(recipe=recipe, folder=str(HERE)))
    return path


def train_and_score(run: Run) -> dict[str, Any]:
    """Trains and scores in this process, by what `train` and `test` do.

    Returns:
        Test's result, with steps (optimizer steps that were taken), seconds (of training) and recall (of each class, of single
        labels), plain values.
    """
    import torch

    from c2d_fast import test, train
    from c2d_fast.commands.run_test import run_test
    from c2d_fast.commands.run_train import run_train

    torch.set_num_threads(1)
    shutil.rmtree(run.out, ignore_errors=True)
    pipe = write_pipe(run.recipe, run.out.with_name(f"{run.out.name}.py"))
    words = [
        "--pipe",
        pipe,
        "--train-list",
        run.train,
        "--out",
        run.out,
        "--seed",
        run.seed,
        "--pictures-every",
        0,
        "--keep",
        0,
    ]
    words += ["--workers", 1, *(["--teacher", run.teacher] if run.teacher else []), *run.flags]
    dump = run.out / "scores.json"
    scoring = ["--pipe", pipe, "--checkpoint", run.checkpoint, "--list", run.val, "--views", "1x1", "--dump", dump]
    said = io.StringIO()
    started_s = time.perf_counter()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            run_train(train.parse(list(map(str, words))))
            trained_s = time.perf_counter() - started_s
            run_test(test.parse(list(map(str, [*scoring, "--workers", 1, "--batch-size", 32]))))
    except BaseException:
        print(f"{run.name}, seed {run.seed}:\n{said.getvalue()}", file=sys.stderr)
        raise
    gc.collect()  # ends the loaders' workers
    result = json.loads(dump.with_name(f"{dump.name}.summary.json").read_text())["result"]
    steps = json.loads((run.out / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    return {**result, "steps": steps, "seconds": round(trained_s, 2), **recalls(json.loads(dump.read_text()))}


def recalls(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the part of each class's videos that is recognised, per cent; nothing of several labels a video."""
    if not rows or not isinstance(rows[0].get("label"), int):
        return {}
    labels, guesses = np.array([row["label"] for row in rows]), np.array([np.argmax(row["scores"]) for row in rows])
    return {"recall": [round(100 * float((guesses[labels == label] == label).mean()), 2) for label in np.unique(labels)]}


def _end_as_programs_do() -> None:
    """Has a child end loaders' workers, which it would wait for: multiprocessing's children leave out what atexit knows."""
    multiprocessing.util.Finalize(None, atexit._run_exitfuncs, exitpriority=100)


@contextlib.contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Opens so many processes for runs, each with one thread for computing: side by side they are quicker than one with all."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported
    root = str(HERE.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_end_as_programs_do)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before
