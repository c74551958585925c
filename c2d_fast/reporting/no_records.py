"""What the ranks beside the first record: nothing."""

from typing import Any

from c2d_fast.reporting.records import Records


class NoRecords(Records):
    """What the ranks beside the first record: nothing."""

    def __init__(self) -> None:
        pass

    def config(self, config: dict[str, Any]) -> None:
        """Records nothing."""

    def start(self) -> None:
        """Starts nothing."""

    def step(self, description: str) -> None:
        """Records nothing."""

    def train(self, step: int, epoch: int, metrics: dict[str, float], *, last: bool) -> None:
        """Records nothing."""

    def validation(self, step: int, epoch: int, metrics: dict[str, float], text: str) -> None:
        """Records nothing."""

    def best(self, step: int, epoch: int, metrics: dict[str, float]) -> None:
        """Records nothing."""

    def begin_epoch(self, epoch: int) -> bool:
        """Says that no pictures are wanted."""
        return False

    def skipped(self, line: dict[str, Any]) -> None:
        """Records nothing."""

    def say(self, text: str) -> None:
        """Shows nothing."""

    def close(self, *, finished: bool = False) -> None:
        """Closes nothing."""
