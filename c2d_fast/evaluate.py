"""Scores videos: every view through the model, the views of a video averaged the published way."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from c2d_fast.batch import EvalSource
from c2d_fast.distributed import Group
from c2d_fast.gallery import Gallery
from c2d_fast.metrics import hits
from c2d_fast.precision import Precision


@dataclass(frozen=True)
class Scores:
    """What the model says of each video of a list."""

    scores: torch.Tensor
    """Class probabilities, float32 [videos, K], on the CPU, in the plan's order."""
    scored: torch.Tensor
    """bool [videos]: False where a video turned out to be broken."""
    labels: torch.Tensor
    """int64 [videos]."""
    num_listed: int | None = None
    """Videos in the list, broken ones included; None: as many as have a row here."""

    def share(self) -> str:
        """Returns ", n of m videos" where not all of the list could be scored, otherwise nothing."""
        listed = len(self.labels) if self.num_listed is None else self.num_listed
        return "" if self.num_scored == listed else f", {self.num_scored} of {listed} videos"

    @property
    def num_scored(self) -> int:
        """Videos that have a score."""
        return int(self.scored.sum())

    def top(self, k: int) -> float:
        """Returns the share of scored videos whose label is among the k best classes, in per cent."""
        return 100 * float(self._hits(k).double().mean())

    def mean_class_accuracy(self) -> float:
        """Returns the mean over the list's classes of the share of their videos that are recognised, in per cent."""
        labels = self.labels[self.scored]
        videos, right = torch.bincount(labels), torch.bincount(labels, self._hits(1).double())
        return 100 * float((right[videos > 0] / videos[videos > 0]).mean())

    def loss(self) -> float:
        """Returns the mean negative log likelihood over the scored videos."""
        # A broken video may have no label at all. It is left out where a row has one number, not all classes.
        likelihood = self.scores.gather(1, self.labels.clamp_min(0)[:, None])[self.scored].double()
        return float(-likelihood.clamp_min(1e-12).log().mean())

    def _hits(self, k: int) -> torch.Tensor:
        return hits(self.scores, self.labels, k)[self.scored]


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
    gives_up: Callable[[], bool] = lambda: False,
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
        gives_up: called before each batch; once it says so on any rank, the result is None on all.
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
        if stopped := gives_up():
            break
        with precision.autocast(device):
            logits = model(batch.clip).float()
        if gallery:
            gallery.see(batch, logits)
        scores = logits.softmax(1) if average_probabilities else logits
        counted = batch.real.to(scores.dtype)
        sums.index_add_(0, batch.index, scores * counted[:, None])
        views.index_add_(0, batch.index, counted)
        labels[batch.index] = batch.label
    model.train(was_training)
    if any(group.share(stopped)):
        return None
    # Of a video that another rank scores a rank has zeros, and no label.
    for sum_ in (sums, views):
        group.sum(sum_)
    group.max(labels)
    means = sums / views.clamp_min(1)[:, None]
    scores = means if average_probabilities else means.softmax(1)
    return Scores(scores.cpu(), views.cpu() > 0, labels.cpu(), num_listed)
