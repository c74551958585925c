"""Scores videos: every view through the model, the views of a video averaged the published way."""

from collections.abc import Callable

import torch
from torch import nn

from c2d_fast.loading.batch import EvalSource
from c2d_fast.model.precision import Precision
from c2d_fast.reporting.gallery import Gallery
from c2d_fast.reporting.scores import Scores
from c2d_fast.training.distributed import Group


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    source: EvalSource,
    *,
    num_classes: int,
    average_probabilities: bool,
    precision: Precision,
    num_listed: int | None = None,
    group: Group | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    gallery: Gallery | None = None,
) -> Scores | None:
    """Scores every video of a source; with several ranks each scores its part, and all get the scores of all.

    Args:
        model: clips uint8 [N, T, H, W, C] -> logits float32 [N, K]; put into eval mode, and back into its mode after.
        source: the views.
        num_classes: K.
        average_probabilities: True averages the views' softmax (models with temporal pool). False averages their logits,
            which equals averaging features before the linear layer, and takes the softmax once.
        precision: of the forward pass.
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
    labels = torch.full((source.num_videos,), -1, device=device)
    # Nothing in this loop waits for the device.
    for batch in source.views():
        if stopped := should_stop():
            break
        with precision.autocast(device):
            logits = model(batch.clip).float()
        if gallery:
            gallery.update(batch, logits)
        scores = logits.softmax(1) if average_probabilities else logits
        counted = batch.valid.to(scores.dtype)
        sums.index_add_(0, batch.index, scores * counted[:, None])
        views.index_add_(0, batch.index, counted)
        labels[batch.index] = batch.label
    model.train(was_training)
    if any(group.all_gather_object(stopped)):
        return None
    # Of a video that another rank scores a rank has zeros, and no label.
    for sum_ in (sums, views):
        group.sum(sum_)
    group.max(labels)
    means = sums / views.clamp_min(1)[:, None]
    scores = means if average_probabilities else means.softmax(1)
    return Scores(scores.cpu(), views.cpu() > 0, labels.cpu(), num_listed)
