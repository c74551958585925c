"""What is shown and recorded of clips with several labels, or none."""

import json

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from c2d_fast.loading.batch import Batch
from c2d_fast.reporting.gallery import Gallery
from c2d_fast.reporting.picture_schedule import PictureSchedule
from c2d_fast.reporting.records import Records
from c2d_fast.reporting.scores import Scores


def test_the_gallery_shows_of_several_labels_the_least_probable():
    gallery = Gallery(8, kind="several")
    clip = torch.zeros(4, 1, 4, 4, 3, dtype=torch.uint8)
    targets = torch.tensor([[1.0, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]])
    logits = torch.tensor([[2.0, -1, 3], [0, 0, 0], [0, 0, 1], [0, 0, 0]])
    label, valid = torch.tensor([0, -1, 2, -1]), torch.tensor([True, True, True, True])
    gallery.update(Batch(clip, label, torch.arange(4), valid, targets=targets), logits)
    shown = gallery.pop()
    assert (shown.indices, shown.labels, shown.guesses) == ([0, 2], [1, 2], [2, 2])  # the others have no label
    assert shown.label_scores == pytest.approx(torch.tensor([-1.0, 1]).sigmoid().tolist())
    assert shown.scores == pytest.approx(torch.tensor([3.0, 1]).sigmoid().tolist())


def test_the_gallery_shows_no_clip_without_a_label():
    gallery = Gallery(8)
    clip = torch.zeros(2, 1, 4, 4, 3, dtype=torch.uint8)
    gallery.update(Batch(clip, torch.tensor([-1, 1]), torch.arange(2), torch.tensor([True, True])), torch.zeros(2, 3))
    assert gallery.pop().indices == [1]


def test_records_of_several_labels(tmp_path):
    records = Records(tmp_path, first_step=0, total_steps=1, epochs=1, pictures=PictureSchedule(epochs=1, every=1))
    records.start()
    records.begin_epoch(1)
    targets = (torch.arange(12).view(4, 3) % 4 == 0).float()
    scores = Scores(torch.rand(4, 3), torch.ones(4, dtype=torch.bool), torch.zeros(4).long(), targets=targets, kind="several")
    metrics = scores.metrics()
    records.validation(1, 1, metrics, "text")
    records.best(1, 1, metrics)
    records.score_figures(1, scores)
    records.close()
    board = EventAccumulator(str(tmp_path)).Reload()
    assert {"val/mAP", "best/mAP", "best/top1", "best/epoch"} <= set(board.Tags()["scalars"])
    assert board.Scalars("best/mAP")[0].value == pytest.approx(metrics["mAP"])
    assert board.Tags()["images"] == ["val/classes"]
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert {name: line[name] for name in metrics} == metrics
