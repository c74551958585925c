"""Scores of several labels a video, and of shares of classes, against torchmetrics, torch's losses and brute force."""

import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchmetrics.classification import MulticlassAveragePrecision, MultilabelAveragePrecision

from c2d_fast.reporting import ranking
from c2d_fast.reporting.scores import Scores, hits, one_hot


def drawn(videos=300, num_classes=9, seed=0, levels=None, rate=0.2):
    """Scores of kind several: with so many different values where there are to be ties. Class 3 has no video."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(videos, num_classes, generator=generator)
    scores = (scores * levels).round() / levels if levels else scores
    targets = (torch.rand(videos, num_classes, generator=generator) < rate).float()
    targets[:, 3] = 0
    return several(scores, targets)


def several(scores, targets, kind="several", labels=None):
    labels = targets.argmax(1) if labels is None else labels
    return Scores(scores, torch.ones(len(scores), dtype=torch.bool), labels, targets=targets, kind=kind)


@pytest.mark.parametrize("levels", [None, 20, 3, 1])
@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_that_of_torchmetrics(levels, seed):
    scores = drawn(seed=seed, levels=levels)
    with warnings.catch_warnings(action="ignore"):  # of the class without a video: there it is 0 and counted
        theirs = MultilabelAveragePrecision(9, average=None)(scores.scores, scores.targets.long()).double()
    known = torch.arange(9) != 3
    ours = scores.average_precision() / 100
    assert ours[3].isnan()
    torch.testing.assert_close(ours[known], theirs[known], atol=1e-6, rtol=0)
    kept = several(scores.scores[:, known], scores.targets[:, known])
    macro = MultilabelAveragePrecision(8, average="macro")(kept.scores, kept.targets.long())
    assert kept.mean_average_precision() / 100 == pytest.approx(float(macro), abs=1e-6)
    assert scores.mean_average_precision() == pytest.approx(kept.mean_average_precision(), abs=1e-12)


@pytest.mark.parametrize("levels", [None, 10])
def test_average_precision_of_one_label_each(levels):
    scores, labels = drawn(levels=levels).scores, torch.arange(300) % 9
    single = Scores(scores, torch.ones(300, dtype=torch.bool), labels)
    for average, ours in ((None, single.average_precision()), ("macro", single.mean_average_precision())):
        theirs = MulticlassAveragePrecision(9, average=average)(scores, labels)
        torch.testing.assert_close(torch.as_tensor(ours).double() / 100, theirs.double(), atol=1e-6, rtol=0)
    same = several(scores, one_hot(labels, 9))
    assert torch.equal(same.average_precision(), single.average_precision())


def test_classes_may_be_ranked_some_at_a_time(monkeypatch):
    scores = drawn(levels=30)
    whole, thresholds = scores.average_precision(), scores.best_thresholds()
    monkeypatch.setattr(ranking, "_AT_ONCE", 2 * 300)
    assert torch.equal(drawn(levels=30).average_precision().nan_to_num(-1), whole.nan_to_num(-1))
    for ours, once in zip(drawn(levels=30).best_thresholds(), thresholds, strict=True):
        assert torch.equal(ours.nan_to_num(-1), once.nan_to_num(-1))


def f1_at(scores, has, threshold):
    said = scores >= threshold
    return 2 * (said & has).sum() / (said.sum() + has.sum())


@pytest.mark.parametrize("levels", [None, 10, 2])
def test_thresholds_give_the_best_f1_that_there_is(levels):
    scores = drawn(60, levels=levels, rate=0.3)
    thresholds, f1 = (figures.numpy() for figures in scores.best_thresholds())
    assert (thresholds[3], np.isnan(f1[3])) == (0.5, True)
    for label in (0, 1, 2, 4, 5, 6, 7, 8):
        column, has = scores.scores[:, label].double().numpy(), scores.targets[:, label].numpy() > 0
        # Nothing changes between two scores: these are all of the thresholds that there are.
        best = max(f1_at(column, has, threshold) for threshold in np.unique(column))
        assert f1[label] == pytest.approx(best, abs=1e-12)
        assert f1_at(column, has, thresholds[label]) == pytest.approx(best, abs=1e-12)
        assert 0 <= thresholds[label] <= 1
        assert thresholds[label] not in column or levels == 1 or thresholds[label] == 0


def test_losses_are_torch_s():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(50, 6, generator=generator) * 3
    targets = (torch.rand(50, 6, generator=generator) < 0.3).float()
    targets[7] = 0  # none of the classes
    expected = functional.binary_cross_entropy_with_logits(logits.double(), targets.double())
    assert several(logits.sigmoid(), targets).loss() == pytest.approx(float(expected), rel=1e-5)
    shares = torch.rand(50, 6, generator=generator).softmax(1)
    expected = functional.cross_entropy(logits.double(), shares.double())
    assert several(logits.softmax(1), shares, "soft").loss() == pytest.approx(float(expected), rel=1e-5)


def test_a_hit_is_any_of_a_video_s_labels():
    rows = torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.9, 0.8, 0.1]])
    targets = torch.tensor([[1.0, 0, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0]])
    scores = several(rows, targets)
    assert [round(scores.top(k), 3) for k in (1, 2, 3, 5)] == [33.333, 66.667, 100, 100]  # the last video has no class to hit
    assert scores.mean_class_accuracy() == pytest.approx(100 * (1 / 2 + 0 + 1 / 2) / 3)
    # In average precision it is a negative of each: it comes first in class 0, and videos 0 and 1 have the same score there.
    assert float(scores.average_precision()[0]) == pytest.approx(100 * (1 / 3 + 2 / 4) / 2)
    without = several(rows[:3], targets[:3])
    assert float(without.average_precision()[0]) > float(scores.average_precision()[0])


def test_shares_weigh_classes():
    rows = torch.tensor([[0.7, 0.3, 0.0], [0.2, 0.8, 0.0]])
    targets = torch.tensor([[0.75, 0.25, 0], [0.4, 0, 0.6]])
    scores = several(rows, targets, "soft")
    assert scores.top(1) == 50
    assert scores.mean_class_accuracy() == pytest.approx(100 * (0.75 / 1.15 + 1 + 0) / 3)


@pytest.mark.parametrize("kind", ["single", "several", "soft"])
def test_what_the_list_says_nothing_of_counts_in_no_figure(kind):
    known, labels = drawn(40), torch.arange(40) % 9
    targets = {"single": None, "several": known.targets, "soft": one_hot(labels, 9)}[kind]
    scored = torch.ones(40, dtype=torch.bool)
    unlabelled = torch.where(torch.arange(40) < 10, -1, labels)
    scored[39] = False
    some = Scores(known.scores, scored, unlabelled, targets=targets, kind=kind, ignores=True)
    rest = slice(10, 39)
    of_rest = None if targets is None else targets[rest]
    expected = Scores(known.scores[rest], scored[rest], labels[rest], targets=of_rest, kind=kind)
    assert some.metrics() == expected.metrics() | {"videos": 39}
    assert some.num_scored == 39
    assert int(some.counted.sum()) == 29
    guesses, shown = some.guesses()
    assert (shown >= 0).all()
    assert len(guesses) == len(shown)


def test_soft_targets_of_nothing_count_in_no_figure():
    shares = torch.tensor([[0.5, 0.5], [0, 0]])
    rows = torch.tensor([[0.6, 0.4], [0.1, 0.9]])
    scores = several(rows, shares, "soft")
    assert scores.counted.tolist() == [True, False]
    assert scores.metrics() == several(rows[:1], shares[:1], "soft").metrics() | {"videos": 2}
    assert several(rows, shares).counted.tolist() == [True, True]


def test_one_label_each_is_scored_as_it_always_was():
    """The formulas that stood here before there were others, to the bit; a broken video has no label."""
    generator = torch.Generator().manual_seed(2)
    rows, labels = torch.rand(97, 11, generator=generator).softmax(1), torch.randint(0, 11, (97,), generator=generator)
    scored = torch.rand(97, generator=generator) > 0.1
    labels[~scored] = -1
    scores = Scores(rows, scored, labels)
    right = {k: hits(rows, labels, k)[scored] for k in (1, 5)}
    videos, of_class = torch.bincount(labels[scored]), torch.bincount(labels[scored], right[1].double())
    likelihood = rows.gather(1, labels.clamp_min(0)[:, None])[scored].double()
    assert scores.metrics() == {
        "loss": float(-likelihood.clamp_min(1e-12).log().mean()),
        "top1": 100 * float(right[1].double().mean()),
        "top5": 100 * float(right[5].double().mean()),
        "mean_class_accuracy": 100 * float((of_class[videos > 0] / videos[videos > 0]).mean()),
        "videos": int(scored.sum()),
    }
    assert scores.headline == ("top-1", "top1", scores.top(1))


def test_one_label_each_gives_the_same_accuracies_as_several():
    single = Scores(drawn().scores, torch.ones(300, dtype=torch.bool), torch.arange(300) % 9)
    for kind in ("several", "soft"):
        other = several(single.scores, one_hot(single.labels, 9), kind)
        same = ("top1", "top5", *(("loss",) if kind == "soft" else ()))
        assert {name: other.metrics()[name] for name in same} == pytest.approx({name: single.metrics()[name] for name in same})
        assert other.mean_class_accuracy() == pytest.approx(single.mean_class_accuracy())
    assert other.headline.name == "top-1"
    assert "mAP" not in other.metrics()
    scores = drawn()
    assert scores.headline == ("mAP", "mAP", scores.metrics()["mAP"])
    assert scores.videos_of_classes().tolist() == scores.targets.sum(0).int().tolist()
