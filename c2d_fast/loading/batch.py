"""What the trainer and the evaluation are fed. They know nothing of where it comes from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Clips on the model's device, with what belongs to each."""

    clip: Tensor
    """RGB 0..255, uint8 [N, T, H, W, C], contiguous: seen as [N*T, C, H, W] it is channels-last without a copy."""
    label: Tensor
    """int64 [N], on the clip's device."""
    index: Tensor
    """The videos' indices in the plan, int64 [N], on the clip's device."""
    valid: Tensor
    """bool [N], on the clip's device: False where the row is padding, which must not count."""


class TrainSource(Protocol):
    """Gives the batches of an epoch, from any step on; the same ones for the same epoch and step."""

    steps_per_epoch: int
    clips_per_step: int
    """Of all ranks together."""

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yields this rank's batches of an epoch from an optimizer step on; several for each step where they accumulate."""
        ...

    def name(self, index: int) -> str:
        """Says which video has an index in the plan, for messages."""
        ...


class EvalSource(Protocol):
    """Gives every view of every video once, in batches of one fixed size."""

    num_videos: int

    def views(self) -> Iterator[Batch]:
        """Yields all views; a video's views may be spread over several batches."""
        ...
