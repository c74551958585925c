"""A run in MLflow, on the server that MLflow's own environment variables name."""

import contextlib
import logging
import os
from collections.abc import Sequence

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from c2d_fast.reporting.tracker_queue import Figure
from c2d_fast.reporting.trackers import TrackedRun

_EXPERIMENT = "c2d_fast"
_MOST_PARAMETERS = 100  # in a request
_LONGEST = 500  # characters of a parameter, as all versions take them


class MlflowRun:
    """A run in MLflow. Figures of steps that are taken again are not sent again: MLflow would keep both."""

    note = ""

    def __init__(self, run: TrackedRun, run_id: str | None):
        """Begins a run, or goes on with one.

        Args:
            run: what is known of it.
            run_id: of the one to go on with; None: a new one.

        Raises:
            Exception: what MLflow raises: the server does not answer, or has no such run.
        """
        for logger in ("mlflow", "urllib3.connectionpool"):  # the queue tells what has failed, once
            logging.getLogger(logger).setLevel(logging.ERROR)
        self._client = MlflowClient()
        self._last_steps: dict[str, int] | None = None if run_id is None else {}
        if run_id is not None:
            self.run_id = run_id
            self._client.update_run(run_id, status="RUNNING")
            return
        self.run_id = self._client.create_run(
            self._experiment(), run_name=run.folder.absolute().name, tags=run.tags
        ).info.run_id
        parameters = [Param(name, str(value)[:_LONGEST]) for name, value in run.parameters.items()]
        for first in range(0, len(parameters), _MOST_PARAMETERS):
            self._client.log_batch(self.run_id, params=parameters[first : first + _MOST_PARAMETERS])
        if self._client.tracking_uri.startswith("http"):  # a database on this machine would have a copy of what lies here
            with contextlib.suppress(Exception):  # not every server takes files; the tags say where it lies
                self._client.log_artifact(self.run_id, str(run.folder / "config.json"))

    def log(self, figures: Sequence[Figure]) -> None:
        """Sends figures; of a run that goes on only those that MLflow does not have."""
        metrics = [
            Metric(figure.tag, figure.value, figure.time_ms, figure.step)
            for figure in figures
            if figure.step > self._last_step(figure.tag)
        ]
        if metrics:
            self._client.log_batch(self.run_id, metrics=metrics)

    def close(self, *, finished: bool) -> None:
        """Says how the run has ended."""
        self._client.set_terminated(self.run_id, "FINISHED" if finished else "KILLED")

    def _last_step(self, tag: str) -> int:
        """Returns the last step of which MLflow had a figure when the run was gone on with, -1 if none."""
        if self._last_steps is None:
            return -1
        if tag not in self._last_steps:
            history = self._client.get_metric_history(self.run_id, tag)
            self._last_steps[tag] = max((metric.step for metric in history), default=-1)
        return self._last_steps[tag]

    def _experiment(self) -> str:
        if experiment_id := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return experiment_id
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))
