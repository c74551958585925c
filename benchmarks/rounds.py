"""Figures that are measured several times, and the time that is left for them."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch


@dataclasses.dataclass
class Rounds:
    """Clips a second, measured several times under the same conditions."""

    values: list[float] = dataclasses.field(default_factory=list)
    more: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def median(self) -> float:
        """Clips a second."""
        return statistics.median(self.values)

    def facts(self) -> dict[str, Any]:
        """Returns plain values: median, spread and every round."""
        values = [round(value, 3) for value in self.values]
        spread = {"low": min(values), "high": max(values)}
        return {"clips_per_s": round(self.median, 3), **spread, "rounds": values, **self.more}


class Clock:
    """Time that is left; what does not fit is left out, and named."""

    def __init__(self, budget_s: float | None):
        self._end_s = time.monotonic() + budget_s if budget_s else None
        self.left_out: list[str] = []

    def allows(self, what: str, needs_s: float = 0.0) -> bool:
        """Says whether there is time for a further measurement that takes about so long."""
        if self._end_s is None or time.monotonic() + needs_s < self._end_s:
            return True
        self.left_out.append(what)
        return False


def timed(function: Callable[[], object], device: torch.device | None = None) -> float:
    """Returns the seconds that a call takes, with all that it has queued on a GPU."""
    is_cuda = device is not None and device.type == "cuda"
    if is_cuda:
        torch.cuda.synchronize(device)
    started_s = time.perf_counter()
    function()
    if is_cuda:
        torch.cuda.synchronize(device)
    return time.perf_counter() - started_s
