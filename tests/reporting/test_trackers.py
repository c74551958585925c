"""Trackers: what they are given is what TensorBoard has, and nothing that becomes of them hurts a run."""

import json
import math
import sys
import threading
import time

import pytest
import wandb
import wandb_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from c2d_fast.errors import UserError
from c2d_fast.reporting import tracker_queue
from c2d_fast.reporting.picture_schedule import PictureSchedule
from c2d_fast.reporting.records import Records
from c2d_fast.reporting.tracker_queue import TrackerQueue
from c2d_fast.reporting.trackers import check_tracker, start_tracker
from c2d_fast.train import parse

CONFIG = {
    "recipe": {"name": "tiny", "training": {"milestones": [1, 2]}, "model": {"depth": 50}},
    "recipe_sha256": "5" * 64,
    "command": "python -m c2d_fast.train --pipe d-\udcff",  # names of files may be any bytes
    "flags": {"seed": 3},
    "used": {"global_batch": 8},
}


def scalars(folder):
    """What TensorBoard has of a run: tag -> [(step, value)]."""
    board = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in board.Scalars(tag)] for tag in board.Tags()["scalars"]}


def same(found, expected):
    """The same tags and steps; values as far as TensorBoard's float32 has them."""
    assert found.keys() == expected.keys()
    for tag, pairs in expected.items():
        assert [step for step, _ in found[tag]] == [step for step, _ in pairs], tag
        values = [value for _, value in found[tag]]
        assert values == pytest.approx([value for _, value in pairs], rel=1e-6, nan_ok=True), tag


def record(folder, name, *, first_step=0, steps=(2, 4, 6), finished=True, until=None, factor=1.0):
    """Records a run's figures as the trainer does; returns what it says."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    tracker = start_tracker(name, folder, CONFIG, resumed=first_step > 0)
    pictures = PictureSchedule(epochs=3, every=0, published={"top1": 70.5})
    records = Records(folder, first_step=first_step, total_steps=6, pictures=pictures, tracker=tracker)
    said = []
    records.say = said.append
    records.start()
    for step in steps:
        figures = {"loss": factor / step, "top1": 50.0, "top5": 60.0, "gradient_norm": math.nan, "lr": 0.1}
        records.train(step, step // 2, figures | {"clips_per_s": 9.0, "data_wait_percent": 1.0}, last=True)
        records.validation(step, step // 2, {"loss": 1.0, "top1": 10.0 * step, "videos": 3}, "text")
        records.best(step, step // 2, {"top1": 10.0 * step})
        if until:
            until(step)
    records.close(finished=finished)
    return said


class Kept:
    """A tracker that keeps what it is sent, after so many failures."""

    run_id, note = "1", ""

    def __init__(self, failures=0):
        self.figures, self.closed, self._failures = [], [], failures

    def log(self, figures):
        if self._failures:
            self._failures -= 1
            raise ConnectionError("it is down\nand more")
        self.figures += figures

    def close(self, *, finished):
        self.closed.append(finished)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(tracker_queue, "_PAUSE_S", 0.01)
    monkeypatch.setattr(tracker_queue, "_LONGEST_PAUSE_S", 0.02)


@pytest.mark.parametrize("finished", [True, False])
def test_the_queue_sends_all_in_order_and_says_how_it_ended(finished, quick):
    kept = Kept()
    queue = TrackerQueue("kept", lambda: kept)
    for step in range(1200):
        queue.scalar("train/loss", step / 2, step)
    queue.close(finished=finished)
    assert [(figure.tag, figure.value, figure.step) for figure in kept.figures] == [
        ("train/loss", step / 2, step) for step in range(1200)
    ]
    assert (kept.closed, queue.pop_lines()) == ([finished], [])


def test_figures_that_were_refused_are_sent_again_and_one_warning_tells_of_it(quick):
    kept, refusals = Kept(failures=3), [OSError("no route"), OSError("no route")]

    def connect():
        if refusals:
            raise refusals.pop()
        return kept

    queue = TrackerQueue("kept", connect)
    queue.scalar("val/top1", 1.0, 1)
    deadline = time.monotonic() + 20
    while not kept.figures and time.monotonic() < deadline:
        time.sleep(0.01)
    queue.scalar("val/top1", 2.0, 2)
    queue.close(finished=True)
    assert [figure.step for figure in kept.figures] == [1, 2]
    (line,) = queue.pop_lines()
    assert line.startswith("warning: kept does not take the run's figures (no route); the run goes on")
    assert queue.pop_lines() == []


def test_a_tracker_that_hangs_holds_up_neither_steps_nor_the_end(monkeypatch, quick):
    monkeypatch.setattr(tracker_queue, "_MOST_WAITING", 10)
    monkeypatch.setattr(tracker_queue, "_END_OF_STOPPED_S", 0.2)
    kept, hangs = Kept(), threading.Event()
    kept.log = lambda figures: hangs.wait(60)
    queue = TrackerQueue("kept", lambda: kept)
    started_s = time.monotonic()
    for step in range(25):
        queue.scalar("val/top1", 1.0, step)
    assert time.monotonic() - started_s < 1
    queue.close(finished=False)
    assert time.monotonic() - started_s < 5
    assert queue.pop_lines() == ["note: 25 figures were not sent to kept; metrics.jsonl has them"]
    hangs.set()


def test_a_missing_package_is_one_line_with_its_remedy(monkeypatch):
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UserError, match=rf"^--tracker {name}: .*pip install 'c2d-fast\[{name}\]'"):
            check_tracker(name)
    check_tracker("tensorboard")
    with pytest.raises(UserError, match="--tracker: invalid choice: 'neptune'"):
        parse(["--pipe", "x", "--tracker", "neptune"])


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_new_run_that_is_not_taken_is_refused_before_it_trains(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("WANDB_MODE", "online")
    wandb.teardown()  # it keeps what the environment was
    monkeypatch.setenv("HOME", str(tmp_path))  # where W&B's key would be
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(UserError, match=rf"^--tracker {name}: does not take the run \(.*leave the flag out$"):
        start_tracker(name, tmp_path, CONFIG, resumed=False)
    assert not (tmp_path / "tracker.json").exists()


def test_mlflow_has_what_tensorboard_has_and_a_resumed_run_goes_on_there(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    out = tmp_path / "run"
    assert not [line for line in record(out, "mlflow", steps=(2, 4), finished=False) if "mlflow" in line]
    (run_id,) = json.loads((out / "tracker.json").read_text()).values()
    client = MlflowClient()
    run = client.get_run(run_id)
    assert run.info.status == "KILLED"
    assert run.data.tags["run_folder"] == str(out)
    assert run.data.tags["recipe_sha256"] == "5" * 64
    assert run.data.tags["command"].endswith("--pipe d-\\udcff")
    assert run.data.params.items() >= {"recipe": "tiny", "model.depth": "50", "global_batch": "8", "seed": "3"}.items()

    def histories(run_id):
        metrics = {tag: client.get_metric_history(run_id, tag) for tag in client.get_run(run_id).data.metrics}
        return {tag: [(metric.step, metric.value) for metric in history] for tag, history in metrics.items()}

    first = histories(run_id)
    same(first, scalars(out))
    assert len(first["train/loss"]) == 2
    # Step 4 is taken again: MLflow keeps the figure that it had, and gets no second one.
    record(out, "mlflow", first_step=2, steps=(4, 6), factor=1.5)
    assert json.loads((out / "tracker.json").read_text()) == {"mlflow": run_id}
    assert client.get_run(run_id).info.status == "FINISHED"
    of_all = histories(run_id)
    assert of_all["train/loss"] == [(2, 0.5), (4, 0.25), (6, 0.25)]
    assert {tag: [step for step, _ in pairs] for tag, pairs in of_all.items()} == {
        tag: [step for step, _ in pairs] for tag, pairs in scalars(out).items()
    }
    record(out, "mlflow")  # a new run in the folder is a new one there, too
    assert json.loads((out / "tracker.json").read_text()) != {"mlflow": run_id}


def test_wandb_offline_has_what_tensorboard_has_and_a_resumed_run_keeps_its_id(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()  # it keeps what the environment was
    out = tmp_path / "run"
    said = record(out, "wandb", steps=(2, 4))
    (run_id,) = json.loads((out / "tracker.json").read_text()).values()
    (file,) = out.glob("wandb/offline-run-*/*.wandb")
    assert [line for line in said if "W&B" in line] == [f"W&B is offline: send the run with wandb sync {file.parent}"]
    same(wandb_file.figures(file), scalars(out))
    time.sleep(1.1)  # its folders are named by the second
    record(out, "wandb", first_step=4, steps=(6,))
    assert json.loads((out / "tracker.json").read_text()) == {"wandb": run_id}
    parts = sorted(out.glob("wandb/offline-run-*/*.wandb"))
    assert [wandb_file.run_ids(part) for part in parts] == [{run_id}, {run_id}]
    both = [wandb_file.figures(part) for part in parts]
    same({tag: both[0][tag] + both[1][tag] for tag in both[0]}, scalars(out))
