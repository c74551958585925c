"""How far a run has come, what ends it, and what its ranks have still to tell each other."""

from dataclasses import dataclass
from typing import Protocol


class StoppedError(Exception):
    """A signal has asked for an end, and all is saved."""

    def __init__(self, number: int):
        super().__init__(f"signal {number}")
        self.number = number


class Problems(Protocol):
    """What a rank has found broken and the others do not know yet."""

    @property
    def has_pending(self) -> bool:
        """Says whether there is any."""
        ...

    def exchange(self) -> None:
        """Tells all; every rank calls it after the same step."""
        ...


@dataclass
class Progress:
    """How far a run has come: all that a resumed run needs beside weights and optimizer."""

    step: int = 0
    """Optimizer steps taken, also those that were skipped."""
    epoch: int = 0
    """Epochs finished, with their validation."""
    clips: int = 0
    """Clips of the epoch under way that all ranks have used. It need not be a step's end for another global batch."""
    best_top1: float = -1.0
    """Best validation top-1 so far (of several labels a video mAP), per cent; -1 before the first."""
    best_epoch: int = 0
    skipped: int = 0
    """Steps that were not applied because a gradient was not finite."""
