"""The exponential moving average of a model's weights and running statistics, as torch's AveragedModel has it.

AveragedModel itself counts its steps in a tensor, which costs a wait for a GPU in each step.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from c2d_fast.training.batch_norm import RunningStatistics
from c2d_fast.training.distributed import Group


class AveragedWeights:
    """Follows a model step by step; on several ranks each has the same weights, and statistics of its own like the model."""

    def __init__(self, model: nn.Module, decay: float):
        """Copies the model.

        Args:
            model: on its device.
            decay: how much of the average each step keeps.
        """
        self.model = copy.deepcopy(model).requires_grad_(False)
        """The model with the averaged weights."""
        self.statistics = RunningStatistics(self.model)
        self._decay, self._steps = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes a step's weights in; the first one's as they are. Waits for nothing."""
        averaged, new = _values(self.model), _values(model)
        are_averaged = [bool(self._steps) and value.is_floating_point() for value in averaged]  # the others count batches
        pairs = list(zip(averaged, new, are_averaged, strict=True))
        if self._steps:
            torch._foreach_lerp_([a for a, _, yes in pairs if yes], [b for _, b, yes in pairs if yes], 1 - self._decay)
        for own, value in ((a, b) for a, b, yes in pairs if not yes):
            own.copy_(value)
        self._steps += 1

    def state(self, group: Group) -> dict[str, Any]:
        """Returns what a checkpoint holds; every rank calls it: the ranks' statistics are gathered."""
        rows = group.all_gather(self.statistics.vector())
        content: dict[str, Any] = {"model": self.model.state_dict(), "steps": self._steps}
        if group.world > 1:
            content["statistics"] = rows
            content["model"] = self.statistics.put_into(content["model"], rows.mean(0))
        return content

    def load(self, content: dict[str, Any], group: Group) -> None:
        """Takes up what state() has returned.

        Raises:
            RuntimeError: it is of another model.
        """
        self.model.load_state_dict(content["model"])
        self._steps = int(content["steps"])
        rows = content.get("statistics")
        if rows is not None and len(rows) == group.world:
            self.statistics.set(rows[group.rank].to(next(self.model.parameters()).device))


def _values(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
