"""A run in Weights & Biases, online or offline, as W&B's own environment variables say."""

import os
import uuid
from collections.abc import Sequence
from itertools import groupby

import wandb

from c2d_fast.reporting.tracker_queue import Figure
from c2d_fast.reporting.trackers import TrackedRun

_PROJECT = "c2d_fast"
_LIMIT_S = 25.0  # for its server to answer; shorter than the queue's at the end


class WandbRun:
    """A run in Weights & Biases. Its files stand in the run folder, below wandb/.

    Its server keeps the first figures of steps that are taken again. Offline, a run that goes on has a folder for each part.
    """

    def __init__(self, run: TrackedRun, run_id: str | None):
        """Begins a run, or goes on with one.

        Args:
            run: what is known of it.
            run_id: of the one to go on with; None: a new one.

        Raises:
            Exception: what W&B raises: nobody is logged in, or the server does not answer.
        """
        self.run_id = run_id or uuid.uuid4().hex[:8]
        settings = wandb.Settings(
            silent=True,
            console="off",  # it would take stdout and stderr
            init_timeout=_LIMIT_S,
            finish_timeout=_LIMIT_S,
            save_code=False,
            disable_git=True,
            x_disable_stats=True,  # the machine's figures are ours
            x_disable_meta=True,
        )
        self._run = wandb.init(
            id=self.run_id,
            resume="allow",
            project=os.environ.get("WANDB_PROJECT") or _PROJECT,
            name=os.environ.get("WANDB_NAME") or run.folder.absolute().name,
            dir=os.environ.get("WANDB_DIR") or str(run.folder),
            config={**run.parameters, **run.tags},
            settings=settings,
        )
        folder = self._run.settings.sync_dir
        self.note = f"W&B is offline: send the run with wandb sync {folder}" if self._run.offline else ""

    def log(self, figures: Sequence[Figure]) -> None:
        """Hands figures to W&B's own process."""
        for step, some in groupby(figures, key=lambda figure: figure.step):
            self._run.log({figure.tag: figure.value for figure in some}, step=step)

    def close(self, *, finished: bool) -> None:
        """Says how the run has ended, and waits for W&B's process to send what it has."""
        self._run.finish(exit_code=0 if finished else 1)
