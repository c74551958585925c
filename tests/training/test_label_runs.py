"""Whole commands on lists with several labels a video, soft labels and labels that say nothing: train, test, predict."""

import json
import sys
from pathlib import Path

import fork_server
import pytest
import torch
from fork_server import environment
from media import make_dataset
from runs import PIPE, flags, last, metrics, one_line, run, same_weights, train

from c2d_fast.training.metrics import batch_sums
from c2d_fast.training.train_step import TrainStep

LABELS = ["0,2", "1", "-1", "0,1,2", "2", "0", "1,2", "0"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Path(make_dataset(tmp_path_factory.mktemp("data"), count=8, num_frames=(20, 31), sizes=((160, 96), (96, 160))))


def relabelled(data, name, labels):
    paths = [line.rsplit(" ", 1)[0] for line in data.read_text().splitlines()]
    path = data.with_name(name)
    path.write_text("".join(f"{video} {label}\n" for video, label in zip(paths, labels, strict=True)))
    return path


def command(name, *words):
    return fork_server.run([sys.executable, "-m", f"c2d_fast.{name}", *map(str, words)], environment(), 120)


SEVERAL = ("--num-classes", 3, "--set", "labels.kind=several", "--set", "training.ema=0.5")


@pytest.fixture(scope="module")
def several(data, tmp_path_factory):
    """A list, and the run that was trained on it."""
    path, out = relabelled(data, "several.txt", LABELS), tmp_path_factory.mktemp("several") / "run"
    done = run(*flags(path, out, *SEVERAL))
    assert done.returncode == 0, done.stderr
    assert "best validation mAP" in done.stdout
    return path, out


def test_several_labels_are_trained_scored_and_predicted(data, several, tmp_path):
    path, out = several
    best = max(line["mAP"] for line in metrics(out) if line["kind"] == "val")
    assert last(out, "best.pt")["progress"]["best_top1"] == best
    given = ["--pipe", PIPE, "--checkpoint", out / "best.pt", "--list", path, "--views", "1x1", "--workers", 1]
    given += ["--dump", tmp_path / "dump.json", "--thresholds", tmp_path / "thresholds.json"]
    done = command("test", *given)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"validation mAP {best:.1f} %")
    rows = json.loads((tmp_path / "dump.json").read_text())
    assert [row["label"] for row in rows] == [[int(word) for word in labels.split(",") if word != "-1"] for labels in LABELS]
    assert any(abs(sum(row["scores"]) - 1) > 1e-3 for row in rows)  # each is a probability of its own
    video = data.parent / rows[0]["path"]
    given = [video, "--pipe", PIPE, "--checkpoint", out / "best.pt", "--views", "1x1", "--json", "--workers", 1]
    done = command("predict", *given, "--threshold", 0.001)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    said = {item["label"]: item["probability"] for item in found["predictions"]}
    assert [said[label] for label in range(3)] == pytest.approx(rows[0]["scores"], abs=1e-5)
    done = command("predict", *given, "--thresholds", tmp_path / "thresholds.json")
    assert done.returncode == 0, done.stderr
    thresholds = {
        int(label): item["threshold"] for label, item in json.loads((tmp_path / "thresholds.json").read_text()).items()
    }
    (found,) = json.loads(done.stdout)
    expected = {label for label in range(3) if rows[0]["scores"][label] >= thresholds[label]}
    assert {item["label"] for item in found["predictions"]} == expected


def test_a_run_with_several_labels_goes_on_to_the_bit(several, tmp_path, monkeypatch):
    path, out = several
    words = [*flags(path, tmp_path / "run", *SEVERAL), "--resume", "auto"]
    assert train(*words, stop_after=3, monkeypatch=monkeypatch) == 143
    assert train(*words, monkeypatch=monkeypatch) == 0
    assert same_weights(last(tmp_path / "run"), last(out))
    assert metrics(tmp_path / "run") == metrics(out)


def test_two_ranks_score_several_labels_as_one_does(several, tmp_path):
    path, out = several
    done = run(*flags(path, tmp_path / "run", *SEVERAL), "--resume", out / "best.pt", "--epochs", 3, ranks=2)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    scored = [line for line in metrics(tmp_path / "run") if line["kind"] == "val"]
    assert scored
    assert all(line["videos"] == 8 and 0 < line["mAP"] <= 100 for line in scored)


def test_soft_labels_and_labels_that_say_nothing_are_trained(data, tmp_path, monkeypatch):
    soft = relabelled(data, "soft.txt", ["0:0.7,1:0.3", "1", "0", "0:0.5,1:0.5", "255", "0", "1", "1"])
    seen = []
    original = TrainStep.__call__

    def step(self, batches, number, sums):
        result = original(self, batches, number, sums)
        seen.append(result.losses)
        return result

    monkeypatch.setattr(TrainStep, "__call__", step)
    words = flags(soft, tmp_path / "soft", "--set", "labels.kind=soft", "--set", "labels.ignore=255")
    assert train(*words, monkeypatch=monkeypatch) == 0
    assert len(seen) == 8
    assert torch.cat(seen).isfinite().all()
    (line,) = [line for line in metrics(tmp_path / "soft") if line["kind"] == "val"][-1:]
    assert line["videos"] == 8
    single = relabelled(data, "single.txt", ["0", "1", "-1", "0", "1", "-1", "1", "0"])
    words = flags(single, tmp_path / "single", "--set", "labels.ignore=-1", "--set", "augment.mixup=0.5")
    assert train(*words, monkeypatch=monkeypatch) == 0
    one_line(run(*flags(single, tmp_path / "a")), 2, "single.txt:3", "label -1")
    one_line(run(*flags(soft, tmp_path / "b", "--set", "labels.ignore=255")), 2, "soft.txt:1", "--set labels.kind=several")


def test_class_weights_are_counted_of_the_list(data, tmp_path, monkeypatch):
    few = relabelled(data, "few.txt", ["0"] * 7 + ["1"])
    found = []
    original = TrainStep.__call__

    def step(self, batches, number, sums):
        found.append(self.objective.class_weights.tolist())
        return original(self, batches, number, sums)

    monkeypatch.setattr(TrainStep, "__call__", step)
    words = flags(few, tmp_path / "run", "--set", "labels.class_weights=balanced", epochs=1)
    assert train(*words, monkeypatch=monkeypatch) == 0
    assert found[0] == pytest.approx([8 / (2 * 7), 8 / (2 * 1)])
    several = relabelled(data, "mixed.txt", ["0,1", "0", "0", "0", "0", "0", "0", "-1"])
    words = flags(
        several, tmp_path / "more", "--set", "labels.class_weights=balanced", "--set", "labels.kind=several", epochs=1
    )
    found.clear()
    assert train(*words, monkeypatch=monkeypatch) == 0
    assert found[0] == pytest.approx([1 / 7, 7.0])


def test_a_list_that_says_nothing_is_refused(data, tmp_path):
    unknown = relabelled(data, "unknown.txt", ["255"] * 8)
    done = run(*flags(unknown, tmp_path / "run", "--set", "labels.ignore=255"))
    one_line(done, 2, f"--train-list {unknown}: none of its 8 videos has a label (labels.ignore is 255)")
    nothing = relabelled(data, "nothing.txt", ["-1"] * 8)
    words = flags(relabelled(data, "some.txt", ["0", "0,1"] * 4), tmp_path / "run", "--set", "labels.kind=several")
    words[words.index("--val-list") + 1] = str(nothing)
    one_line(run(*words), 2, f"--val-list {nothing}: none of its 8 videos has a label; give another list")
    assert not (tmp_path / "run").exists()


def test_clips_that_are_ignored_count_in_no_recorded_loss():
    label = torch.tensor([1, -1, 0, -1])
    targets = torch.eye(3)[label.clamp_min(0)] * (label >= 0)[:, None]
    sums = batch_sums(torch.tensor(2.0), torch.eye(3)[[1, 1, 1, 2]], label, targets, ignores=True)
    assert sums.tolist() == [4.0, 1.0, 2.0, 2.0]
    assert batch_sums(torch.tensor(2.0), torch.eye(3)[[1, 1, 1, 2]], label, targets)[3] == 4
