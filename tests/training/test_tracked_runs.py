"""Whole runs with a real MLflow server on loopback: killed, resumed, on several ranks."""

import json
import time

import mlflow
import pytest
from mlflow_server import MlflowServer
from runs import flags, last, metrics, run, same_weights, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = pytest.mark.slow  # a server takes its time to start


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture
def tracked(server, monkeypatch):
    """Has runs go to the server; returns a client of it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return mlflow.MlflowClient(server.url)


def run_id_of(out):
    return json.loads((out / "tracker.json").read_text())["mlflow"]


def histories(client, run_id):
    tags = client.get_run(run_id).data.metrics
    return {tag: [(m.step, m.value) for m in client.get_metric_history(run_id, tag)] for tag in tags}


def board(out):
    events = EventAccumulator(str(out), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def same_figures(found, expected):
    assert found.keys() == expected.keys()
    for tag, pairs in expected.items():
        assert [step for step, _ in found[tag]] == [step for step, _ in pairs], tag
        assert [value for _, value in found[tag]] == pytest.approx([value for _, value in pairs], rel=1e-6), tag


def test_the_server_has_the_figures_of_a_run_which_learns_what_it_learns_without(eight_videos, whole_run, tracked, tmp_path):
    out = tmp_path / "run"
    done = run(*flags(eight_videos, out, "--tracker", "mlflow"), ranks=1)
    assert (done.returncode, done.stderr) == (0, "")
    assert same_weights(last(out), last(whole_run))
    assert metrics(out) == metrics(whole_run)
    same_figures(histories(tracked, run_id_of(out)), board(out))
    of_server = tracked.get_run(run_id_of(out))
    assert of_server.info.status == "FINISHED"
    assert of_server.data.params["training.clips_per_video"] == "1"
    assert of_server.data.tags["run_folder"] == str(out)
    file = mlflow.artifacts.download_artifacts(run_id=run_id_of(out), artifact_path="config.json", dst_path=str(tmp_path),
                                               tracking_uri=mlflow.get_tracking_uri())  # fmt: skip
    with open(file) as copy:
        assert json.load(copy) == json.loads((out / "config.json").read_text())


def test_a_run_that_was_stopped_goes_on_in_the_same_run(eight_videos, tracked, tmp_path, monkeypatch):
    out = tmp_path / "run"
    words = flags(eight_videos, out, "--tracker", "mlflow", "--resume", "auto")
    assert train(*words, stop_after=6, monkeypatch=monkeypatch) == 143
    run_id = run_id_of(out)
    assert tracked.get_run(run_id).info.status == "KILLED"
    assert train(*words, monkeypatch=monkeypatch) == 0
    assert run_id_of(out) == run_id
    assert tracked.get_run(run_id).info.status == "FINISHED"
    same_figures(histories(tracked, run_id), board(out))


def test_of_several_ranks_one_speaks(eight_videos, tracked, tmp_path):
    out = tmp_path / "run"
    done = run(*flags(eight_videos, out, "--tracker", "mlflow", epochs=1), ranks=2)
    assert done.returncode == 0, done.stderr
    experiment = tracked.get_experiment_by_name("c2d_fast").experiment_id
    of_folder = f"tags.run_folder = '{out}'"
    assert [found.info.run_id for found in tracked.search_runs([experiment], of_folder)] == [run_id_of(out)]
    same_figures(histories(tracked, run_id_of(out)), board(out))


def test_a_server_that_dies_costs_a_run_one_warning(eight_videos, whole_run, server, tracked, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"

    def before_step(step, number):
        if number == 5:
            deadline = time.monotonic() + 60
            while not tracked.get_run(run_id_of(out)).data.metrics and time.monotonic() < deadline:
                time.sleep(0.1)
            server.kill()

    try:
        code = train(*flags(eight_videos, out, "--tracker", "mlflow"), monkeypatch=monkeypatch, before_step=before_step)
    finally:
        server.start()
    said = capsys.readouterr()
    assert (code, said.err) == (0, "")
    assert said.out.count("warning: ") == said.out.count("warning: mlflow does not take the run's figures (") == 1
    assert said.out.count("figures were not sent to mlflow; metrics.jsonl has them") == 1
    assert same_weights(last(out), last(whole_run))
    assert metrics(out) == metrics(whole_run)
    # What had been sent before is there.
    found, all_of_it = histories(tracked, run_id_of(out)), board(out)
    assert [step for step, _ in found["train/loss"]] == [4]
    same_figures(found, {tag: all_of_it[tag][: len(pairs)] for tag, pairs in found.items()})
