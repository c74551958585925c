"""What TensorBoard shows of a run, asked through TensorBoard itself."""

import io
import json
import os
import re
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import torch
from board_tags import IMAGES, SCALARS
from PIL import Image
from runs import flags, run, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy import make_trainer

from c2d_fast.loading.batch import Batch
from c2d_fast.recipe import load_pipe
from c2d_fast.reporting.gallery import Gallery
from c2d_fast.reporting.metrics_file import open_without_later_steps
from c2d_fast.reporting.picture_schedule import PictureSchedule
from c2d_fast.reporting.records import Records
from c2d_fast.reporting.tensorboard_writer import hyperparameters


@pytest.fixture(scope="module")
def board(whole_run):
    return EventAccumulator(str(whole_run), size_guidance={"images": 0, "scalars": 0}).Reload()


@pytest.fixture(scope="module")
def served(whole_run):
    """A TensorBoard process on the run folder: returns what it answers to a path."""
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(whole_run.parent),
        "--port",
        "0",
        "--load_fast",
        "false",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        line = next(line for line in process.stderr if " at http" in line)
        address = re.search(r"http://\S+?(?=/? )", line)[0]

        def get(path, body=None):
            data, headers = body and json.dumps(body).encode(), {"Content-Type": "application/json"}
            request = urllib.request.Request(f"{address}/data/{path}", data, headers if body else {})
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())

        deadline = time.monotonic() + 60
        while not get("plugin/images/tags") and time.monotonic() < deadline:
            time.sleep(0.2)
        yield get
    finally:
        process.kill()
        process.communicate()


def test_all_that_a_run_is_judged_by_is_there(board):
    tags = board.Tags()
    assert set(tags["scalars"]) >= SCALARS
    assert set(tags["images"]) == IMAGES
    assert {"config/text_summary", "command/text_summary"} <= set(tags["tensors"])
    assert [event.step for event in board.Scalars("val/top1")] == [4, 8]
    assert all(
        event.value > 0 for name in ("decoded_frames_per_s", "rss_mb", "step_ms") for event in board.Scalars(f"machine/{name}")
    )
    text = board.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert json.loads(text.removeprefix("```json\n").removesuffix("\n```"))["recipe"]["name"] == "tiny"


def test_tensorboard_itself_serves_it(served, whole_run):
    name = whole_run.name
    assert set(served("plugin/scalars/tags")[name]) >= SCALARS
    assert set(served("plugin/images/tags")[name]) == IMAGES
    assert set(served("plugin/text/tags")[name]) >= {"config/text_summary"}
    layout = served("plugin/custom_scalars/layout")
    charts = {chart["title"]: chart["multiline"]["tag"] for part in layout["category"] for chart in part["chart"]}
    assert "published/top1$" in charts["top-1, %"]
    shown = [re.compile(tag) for tags in charts.values() for tag in tags]
    assert all(any(tag.match(scalar) for tag in shown) for scalar in SCALARS if scalar.startswith(("train/", "machine/")))
    used = {tag.pattern for tag in shown if any(tag.match(scalar) for scalar in SCALARS)}
    assert {tag.pattern for tag in shown} - used == {"published/top1$", "published/top5$"}  # this recipe has none
    every = {"experimentName": "", "allowedStatuses": ["STATUS_SUCCESS"], "colParams": [], "startIndex": 0, "sliceSize": 9}
    (group,) = served("plugin/hparams/session_groups", every)["sessionGroups"]
    assert (group["hparams"]["recipe"], group["hparams"]["global_batch"]) == ("tiny", 2)
    assert {value["name"]["tag"] for value in group["metricValues"]} == {"best/top1", "best/top5", "val/top1", "val/top5"}


def test_pictures_can_be_seen(board):
    for tag in IMAGES:
        events = board.Images(tag)
        assert [event.step for event in events] == [8]  # a first epoch of a second is too short for pictures
        for event in events:
            picture = Image.open(io.BytesIO(event.encoded_image_string))
            assert picture.size == (event.width, event.height)
            assert np.asarray(picture.convert("L")).std() > 10


def test_hyperparameters_stand_beside_the_scores(board, whole_run):
    content = board.summary_metadata
    assert any(data.plugin_data.plugin_name == "hparams" for data in content.values())
    facts = hyperparameters(json.loads((whole_run / "config.json").read_text()))
    assert facts["recipe"] == "tiny"
    assert (facts["global_batch"], facts["epochs"], facts["seed"], facts["weights"]) == (2, 2, 0, "none")
    assert all(isinstance(value, (str, int, float, bool)) for value in facts.values())


def test_the_reference_is_a_line(tmp_path):
    records = Records(tmp_path, first_step=0, total_steps=1, pictures=PictureSchedule(epochs=1, published={"top1": 73.89}))
    for step in (1, 2):
        records.validation(step, 1, {"top1": 10.0 * step}, "text")
    records.close()
    board = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, round(event.value, 2)) for event in board.Scalars("published/top1")] == [(1, 73.89), (2, 73.89)]


def test_recording_keeps_account_of_itself(whole_run, eight_videos, tmp_path):
    done = run(*flags(eight_videos, tmp_path / "r", epochs=1))
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("recording took ")]
    per_cent, spent_ms, step_ms = map(float, re.findall(r"[\d.]+", line)[:3])
    assert per_cent == pytest.approx(100 * spent_ms / step_ms, rel=0.05)  # the line rounds
    lines = [json.loads(line) for line in (whole_run / "machine.jsonl").read_text().splitlines()]
    assert all(0 <= line["recording_percent"] < 100 for line in lines)


def test_the_clock_counts_all_of_recording_and_nothing_else(tmp_path, monkeypatch):
    records = Records(tmp_path, first_step=0, total_steps=3)
    records.start()
    time.sleep(0.2)
    assert records.overhead_percent() < 5
    monkeypatch.setattr(records, "_write", lambda *args: time.sleep(0.05))
    records.train(1, 1, {"loss": 1.0, "top1": 1.0, "clips_per_s": 1.0, "data_wait_percent": 0.0, "lr": 0.1}, last=False)
    records.validation(1, 1, {}, "text")
    assert 0.15 <= records._spent_s < 0.3
    records.close()


@pytest.mark.parametrize(
    ("epochs", "every", "expected"),
    [
        (25, None, [1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 25]),
        (3, 0, []),
        (7, 3, [1, 3, 6, 7]),
        (100, None, [1, *range(10, 101, 10)]),
    ],
)
def test_epochs_with_pictures(tmp_path, epochs, every, expected):
    records = Records(tmp_path, first_step=0, total_steps=1, pictures=PictureSchedule(epochs=epochs, every=every))
    records.start()
    assert [epoch for epoch in range(1, epochs + 1) if records.begin_epoch(epoch)] == expected
    records.close()


@pytest.mark.parametrize(
    ("elapsed_s", "every", "expected"), [(10, None, [0, 3]), (600, None, [0, 1, 3]), (10, 1, [0, 1, 2, 3])]
)
def test_pictures_are_left_out_rather_than_taking_time(tmp_path, elapsed_s, every, expected):
    drawn = []
    records = Records(tmp_path, first_step=0, total_steps=1, pictures=PictureSchedule(epochs=30, every=every))
    for number, epoch in enumerate((30, 1, 2, 30)):
        records._spent_s, records._started_s = 0.1, time.monotonic() - elapsed_s
        if records.begin_epoch(epoch):
            records._draw(lambda number=number: drawn.append(number))
            records._spent_s = 100  # what the first has cost decides nothing for the second
            records._draw(lambda: None)
    assert drawn == expected
    records.close()


def test_pictures_do_not_change_what_is_learnt(eight_videos, tmp_path, monkeypatch):
    weights = []
    for every in (0, 1):
        assert train(*flags(eight_videos, tmp_path / str(every), "--pictures-every", every), monkeypatch=monkeypatch) == 0
        weights.append(torch.load(tmp_path / str(every) / "last.pt", weights_only=True)["model"])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    none, some = (EventAccumulator(str(tmp_path / name)).Reload() for name in "01")
    assert none.Tags()["images"] == []
    assert {tag: [event.step for event in some.Images(tag)] for tag in some.Tags()["images"]} == {key: [4, 8] for key in IMAGES}


def test_the_gallery_keeps_the_worst_and_no_padding():
    gallery = Gallery(3)
    label = torch.tensor([0, 1, 0, 1])
    valid = torch.tensor([True, True, True, False])
    for number in range(2):
        clip = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1, 1).expand(4, 2, 4, 4, 3) + 10 * number
        logits = torch.tensor([[2.0, 0], [2, 0], [0, 0.5], [9, 0]]) - number
        gallery.update(Batch(clip, label, torch.arange(4) + 10 * number, valid), logits + torch.tensor([number, 0.0]))
    shown = gallery.pop()
    # Of each batch videos 0 and 2 are of class 0, 1 of class 1, and 3 is padding.
    assert set(shown.indices) == {1, 11, 2}
    assert shown.clips[:, 0, 0, 0, 0].tolist() == shown.indices
    assert shown.label_scores == sorted(shown.label_scores)
    assert all(guess != label for guess, label in zip(shown.guesses, shown.labels, strict=True))
    assert Gallery(3).pop() is None


def test_the_gallery_s_batches_may_be_limited():
    gallery = Gallery(8, batches=1)
    for index in (0, 1):
        clip = torch.zeros(1, 1, 4, 4, 3, dtype=torch.uint8)
        gallery.update(Batch(clip, torch.tensor([0]), torch.tensor([index]), torch.tensor([True])), torch.zeros(1, 2))
    assert gallery.pop().indices == [0]


def test_the_gradient_norm_is_that_before_clipping(tmp_path):
    trainer = make_trainer(tmp_path / "run")
    trainer.run(1)
    trainer.records.close()
    line = next(json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    other = make_trainer(tmp_path / "other")
    norms = []
    for step, batch in enumerate(other.source.epoch(0), 1):
        other.step._seed_dropout(step, 0)
        other.model.train()
        other.optimizer = other.step.optimizer
        other.optimizer.zero_grad()
        torch.nn.functional.cross_entropy(other.model(batch.clip), batch.label).backward()
        norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in other.model.parameters()])))
        torch.nn.utils.clip_grad_norm_(other.model.parameters(), other.training.clip_grad_norm)
        other.optimizer.step()
    assert line["gradient_norm"] == pytest.approx(sum(norms) / len(norms), rel=1e-4)


def test_a_picture_is_not_worth_a_run(eight_videos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("c2d_fast.reporting.charts.confusion_figure", lambda *args: 1 / 0)
    assert train(*flags(eight_videos, tmp_path / "r"), monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out.count("pictures can no longer be drawn (ZeroDivisionError") == 1
    gallery = Gallery(2)
    gallery.update(Batch(torch.zeros(1), torch.zeros(1, dtype=torch.int64), torch.zeros(3), torch.ones(7)), torch.zeros(1, 2))
    assert gallery.pop() is None


def test_names_of_any_bytes_end_no_run(eight_videos, tmp_path):
    odd = tmp_path / os.fsdecode(b"d-\xff") / "list.txt"
    odd.parent.mkdir()
    odd.write_text(eight_videos.read_text())
    words = flags(odd, tmp_path / "r", "--data-root", eight_videos.parent, epochs=1)
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    board = EventAccumulator(str(tmp_path / "r")).Reload()
    assert "d-\\udcff" in board.Tensors("command/text_summary")[0].tensor_proto.string_val[0].decode()


def test_what_will_be_recorded_again_goes(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [("train", 4, 1), ("val", 4, 1), ("train", 8, 2), ("val", 8, 2), ("train", 10, 3)]
    path.write_text(
        "".join(json.dumps({"kind": kind, "step": step, "epoch": epoch}) + "\n" for kind, step, epoch in lines) + '{"ki'
    )
    open_without_later_steps(
        path, 8, 1
    ).close()  # a run that was killed after the second epoch's validation, before it was saved
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in kept] == [("train", 4), ("val", 4), ("train", 8)]


def test_the_time_of_a_step_is_without_validation(tmp_path):
    records = Records(tmp_path, first_step=0, total_steps=4)
    figures = {"loss": 1.0, "top1": 1.0, "clips_per_s": 1.0, "data_wait_percent": 0.0, "lr": 0.1}
    records.start()
    for epoch in (1, 2):
        records.begin_epoch(epoch)
        for _ in range(2):
            time.sleep(0.01)
            records.step("")
        records.train(2 * epoch, epoch, figures, last=True)
        time.sleep(0.5)
    records.close()
    times = [json.loads(line)["step_ms"] for line in (tmp_path / "machine.jsonl").read_text().splitlines()]
    assert all(10 <= step_ms < 100 for step_ms in times)


def test_what_is_set_of_augmentation_labels_and_a_teacher_stands_among_the_hyperparameters(whole_run):
    config = json.loads((whole_run / "config.json").read_text())
    assert not [name for name in hyperparameters(config) if name.startswith(("augment.", "labels.", "distill."))]
    recipe = load_pipe("tests/rich_pipe.py").recipe.as_dict()
    facts = hyperparameters({**config, "recipe": recipe})
    assert facts["augment.mixup"] == 0.3
    assert facts["labels.balance"] is True
    assert facts["distill.temperature"] == 2.0
    assert "augment.grayscale" not in facts
