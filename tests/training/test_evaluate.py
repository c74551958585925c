import math

import pytest
import torch
from torch import nn

from c2d_fast.loading.batch import Batch
from c2d_fast.model.precision import Precision
from c2d_fast.reporting.scores import Scores, hits
from c2d_fast.training.distributed import Group
from c2d_fast.training.evaluate import evaluate
from c2d_fast.training.metrics import RunningMetrics, batch_sums

LABELS = torch.tensor([2, 0, 1])


class Views:
    """Three videos, four views each, in batches of five: the last is padded. A view's clip holds its logits."""

    num_videos = 3

    def __init__(self, broken=()):
        generator = torch.Generator().manual_seed(0)
        self.logits = torch.randn(3, 4, 6, generator=generator) * 3
        self.owners = [v for v in range(3) if v not in broken for _ in range(4)]

    def views(self):
        logits = [row for v in range(3) if v in self.owners for row in self.logits[v]]
        for start in range(0, len(logits), 5):
            rows, owners = logits[start : start + 5], self.owners[start : start + 5]
            padding = 5 - len(rows)
            index = torch.tensor(owners + [owners[-1]] * padding)
            clip = torch.stack(rows + [torch.full((6,), 100.0)] * padding)
            yield Batch(clip, LABELS[index], index, torch.arange(5) < len(rows))


class Identity(nn.Module):
    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, clip):
        assert not self.training
        return clip


def run(views, average_probabilities):
    model = Identity().train()
    precision = Precision("fp32")
    scores = evaluate(model, views, num_classes=6, average_probabilities=average_probabilities, precision=precision)
    assert model.training
    return scores


def test_views_are_averaged_as_probabilities_or_as_logits():
    views = Views()
    torch.testing.assert_close(run(views, True).scores, views.logits.softmax(2).mean(1))
    torch.testing.assert_close(run(views, False).scores, views.logits.mean(1).softmax(1))
    assert run(views, True).labels.tolist() == LABELS.tolist()


def test_a_video_without_views_is_not_scored():
    scores = run(Views(broken=(1,)), True)
    assert scores.scored.tolist() == [True, False, True]
    assert scores.num_scored == 2
    assert scores.coverage_text() == ", 2 of 3 videos"
    assert run(Views(), True).coverage_text() == ""


def test_top_and_loss_count_scored_videos_only():
    rows = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.3, 0.5], [0.0, 0.0, 0.0]])
    scores = Scores(rows, torch.tensor([True, True, False]), torch.tensor([0, 1, 2]))
    assert scores.top(1) == 50
    assert scores.top(2) == 100
    assert scores.top(5) == 100  # fewer classes than guesses
    assert scores.loss() == pytest.approx(-(torch.tensor([0.7, 0.3]).log().mean().item()))


def test_mean_class_accuracy_weighs_classes_not_videos():
    rows = torch.eye(4)[[0, 0, 0, 1, 2, 3]]  # what is guessed
    scores = Scores(rows, torch.tensor([True] * 5 + [False]), torch.tensor([0, 0, 0, 0, 2, 1]))
    assert scores.top(1) == 80
    assert scores.mean_class_accuracy() == (75 + 100) / 2  # class 1 has no scored video, class 3 is in no label


def test_hits_and_tally():
    logits = torch.tensor([[3.0, 2, 1], [1, 2, 3], [2, 3, 1]])
    label = torch.tensor([0, 0, 0])
    assert hits(logits, label, 1).tolist() == [True, False, False]
    assert hits(logits, label, 2).tolist() == [True, False, True]
    metrics, alone = RunningMetrics(torch.device("cpu")), Group()
    one = torch.tensor(1.0)
    metrics.add(batch_sums(torch.tensor(2.0), logits, label), 3 * one, one)
    metrics.add(batch_sums(torch.tensor(6.0), logits[:1], label[:1]), 7 * one, one)
    again = RunningMetrics(torch.device("cpu"), metrics.sums(alone))
    expected = {"loss": 3.0, "top1": 50.0, "top5": 100.0, "gradient_norm": 5.0}
    assert metrics.read(alone) == again.read(alone) == expected
    assert all(map(math.isnan, metrics.read(alone).values()))
    assert all(
        map(math.isnan, RunningMetrics(torch.device("cpu"), [1.0, 1.0, 1.0]).read(alone).values())
    )  # of an earlier version
