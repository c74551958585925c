"""Which sample a source is asked for. No torch, no DALI."""

from dataclasses import dataclass
from typing import Protocol


class SampleInfo(Protocol):
    """What a source is told: a SampleIndex, or what DALI tells an external source (nvidia.dali.types.SampleInfo)."""

    @property
    def iteration(self) -> int:
        """Returns the batch of the pipeline."""

    @property
    def idx_in_batch(self) -> int:
        """Returns its index there."""


@dataclass(frozen=True)
class SampleIndex:
    """Which sample of a pipeline: its batch, and its index there."""

    iteration: int
    idx_in_batch: int


class SingleSample:
    """For calling a source outside a pipeline: the source's first sample."""

    iteration = 0
    idx_in_batch = 0
