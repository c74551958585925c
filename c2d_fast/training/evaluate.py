"""Scores videos: every view through the model, the views of a video averaged the published way."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from c2d_fast.loading.batch import Batch, EvalSource
from c2d_fast.model.precision import Precision
from c2d_fast.recipe import Labels
from c2d_fast.reporting.scores import Scores, one_hot
from c2d_fast.training.distributed import Group

SINGLE = Labels()


class Onlooker(Protocol):
    """Is shown all views, such as a Gallery."""

    def update(self, batch: Batch, logits: Tensor) -> None:
        """Looks at a batch, padding included, and its logits, float32 [N, K]."""
        ...


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    source: EvalSource,
    *,
    num_classes: int,
    average_probabilities: bool,
    precision: Precision,
    labels: Labels = SINGLE,
    num_listed: int | None = None,
    group: Group | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    gallery: Onlooker | None = None,
) -> Scores | None:
    """Scores every video of a source; with several ranks each scores its part, and all get the scores of all.

    Args:
        model: clips uint8 [N, T, H, W, C] -> logits float32 [N, K]; put into eval mode, and back into its mode after.
        source: the views.
        num_classes: K.
        average_probabilities: True averages the views' probabilities (models with temporal pool). False averages their
            logits, which equals averaging features before the linear layer, and makes probabilities of them once.
        precision: of the forward pass.
        labels: the recipe's. Probabilities are the logits' softmax, of kind several their sigmoid. But for kind single the
            scores have targets: the batches' own, or the labels, one each.
        num_listed: videos in the list, broken ones included (default: the source's).
        group: the ranks that share the list (default: this one has all of it).
        should_stop: called before each batch; once it says so on any rank, the result is None on all.
        gallery: is shown the views of this rank.
    """
    group, stopped = group or Group(), False
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    sums = torch.zeros(source.num_videos, num_classes, device=device)
    views = torch.zeros(source.num_videos, device=device)
    label = torch.full((source.num_videos,), -1, device=device)
    targets = torch.zeros_like(sums) if labels.kind != "single" else None
    probabilities = torch.sigmoid if labels.kind == "several" else _softmax
    # Nothing in this loop waits for the device.
    for batch in source.views():
        if stopped := should_stop():
            break
        with precision.autocast(device):
            logits = model(batch.clip).float()
        if gallery:
            gallery.update(batch, logits)
        scores = probabilities(logits) if average_probabilities else logits
        counted = batch.valid.to(scores.dtype)
        sums.index_add_(0, batch.index, scores * counted[:, None])
        views.index_add_(0, batch.index, counted)
        label[batch.index] = batch.label
        if targets is not None:
            targets[batch.index] = one_hot(batch.label, num_classes) if batch.targets is None else batch.targets
    model.train(was_training)
    if any(group.all_gather_object(stopped)):
        return None
    # Of a video that another rank scores a rank has zeros, and no label.
    for sum_ in (sums, views):
        group.sum(sum_)
    group.max(label)
    if targets is not None:
        group.max(targets)
    means = sums / views.clamp_min(1)[:, None]
    scores = means if average_probabilities else probabilities(means)
    return Scores(
        scores.cpu(),
        views.cpu() > 0,
        label.cpu(),
        num_listed,
        targets=None if targets is None else targets.cpu(),
        kind=labels.kind,
        ignores=labels.ignore is not None,
    )


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(1)
