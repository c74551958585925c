import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import nn

from c2d_fast.loading.batch import Batch
from c2d_fast.model.precision import Precision
from c2d_fast.recipe import Labels
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


def run(views, average_probabilities, kind="single", ignore=None):
    model = Identity().train()
    precision = Precision("fp32")
    scores = evaluate(
        model,
        views,
        num_classes=6,
        average_probabilities=average_probabilities,
        precision=precision,
        labels=Labels(kind=kind, ignore=ignore),
    )
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


SEVERAL = torch.tensor([[0.0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1]])


class WithTargets(Views):
    def __init__(self, targets):
        super().__init__()
        self.targets, self.without = targets, -1

    def views(self):
        for batch in super().views():
            label = torch.where(batch.index == self.without, -1, batch.label)
            yield replace(batch, label=label, targets=self.targets[batch.index])


def test_views_of_several_labels_are_averaged_as_sigmoids_or_as_logits():
    views = WithTargets(SEVERAL)
    torch.testing.assert_close(run(views, True, "several").scores, views.logits.sigmoid().mean(1))
    torch.testing.assert_close(run(views, False, "several").scores, views.logits.mean(1).sigmoid())
    scores = run(views, True, "several")
    assert (scores.kind, scores.labels.tolist()) == ("several", LABELS.tolist())
    assert torch.equal(scores.targets, SEVERAL)
    assert scores.metrics().keys() == {"loss", "top1", "top5", "mean_class_accuracy", "videos", "mAP"}


def test_videos_without_a_label_are_negatives_or_ignored():
    views = WithTargets(SEVERAL)
    views.without = 1
    negative, ignored = run(views, True, "several"), run(views, True, "several", ignore=-1)
    assert negative.labels.tolist() == ignored.labels.tolist() == [2, -1, 1]
    assert negative.counted.tolist() == [True, True, True]
    assert ignored.counted.tolist() == [True, False, True]
    assert run(views, True, "soft", ignore=-1).counted.tolist() == [True, False, True]


def test_shares_are_scored_by_softmax():
    shares = SEVERAL.softmax(1)
    scores = run(WithTargets(shares), True, "soft")
    torch.testing.assert_close(scores.scores, run(Views(), True).scores)
    assert torch.equal(scores.targets, shares)


def test_lists_of_one_label_each_make_targets_of_it():
    for kind in ("several", "soft"):
        assert torch.equal(run(Views(), True, kind).targets, torch.eye(6)[LABELS])
    single = run(WithTargets(SEVERAL), True)  # nobody asked for them
    assert single.targets is None
    assert run(Views(), True, "soft").loss() == pytest.approx(single.loss())


def test_targets_of_videos_that_other_ranks_score():
    """Two ranks in threads: each gives its part of the views to a group that waits for the other's tensors."""
    views, barrier, parts = WithTargets(SEVERAL), threading.Barrier(2, timeout=30), {}

    class Half(Group):
        def _reduced(self, tensor, by):
            parts[self.rank] = tensor.clone()
            barrier.wait()
            tensor.copy_(by(torch.stack([parts[0], parts[1]])))
            barrier.wait()
            return tensor

        def sum(self, tensor):
            return self._reduced(tensor, lambda both: both.sum(0))

        def max(self, tensor):
            return self._reduced(tensor, lambda both: both.amax(0))

        def all_gather_object(self, value):
            return [value]

    class Part:
        num_videos = 3

        def __init__(self, rank):
            self.rank = rank

        def views(self):
            for number, batch in enumerate(views.views()):
                if number % 2 == self.rank:
                    yield batch

    def scored(rank):
        group = Half(rank, 2, rank, 2)
        precision = Precision("fp32")
        return evaluate(
            Identity(),
            Part(rank),
            num_classes=6,
            average_probabilities=True,
            precision=precision,
            labels=Labels(kind="several"),
            group=group,
        )

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(scored, range(2)))
    whole = run(views, True, "several")
    for scores in both:
        torch.testing.assert_close(scores.scores, whole.scores)
        assert torch.equal(scores.targets, SEVERAL)
        assert scores.labels.tolist() == LABELS.tolist()
