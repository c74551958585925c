"""Which sample a source is asked for. No torch, no DALI."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol


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


def probe(item: tuple[Any, int, int], tick: Callable[[], None]) -> str:
    """Reads a sample as a worker would, in a process that may die of it; returns the problem, if any.

    Args:
        item: a ClipSource, and the sample's step and slot.
        tick: see children.Work.
    """
    source, step, slot = item
    tick()
    problem = replace(source, first_step=step, first_slot=slot)(SingleSample())[-1]
    return bytes(problem).decode(errors="replace")
