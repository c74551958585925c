"""The exponential moving average of a model's weights and running statistics (torch's AveragedModel)."""

from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

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
        self._averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        self._averaged.module.requires_grad_(False)
        self.statistics = RunningStatistics(self.model)

    @property
    def model(self) -> nn.Module:
        """Returns the model with the averaged weights."""
        module: nn.Module = self._averaged.module
        return module

    def update(self, model: nn.Module) -> None:
        """Takes a step's weights in; the first one's as they are."""
        self._averaged.update_parameters(model)

    def state(self, group: Group) -> dict[str, Any]:
        """Returns what a checkpoint holds; every rank calls it: the ranks' statistics are gathered."""
        rows = group.all_gather(self.statistics.vector())
        content = self.local_state()
        if group.world > 1:
            content["statistics"] = rows
            content["model"] = self.statistics.put_into(content["model"], rows.mean(0))
        return content

    def local_state(self) -> dict[str, Any]:
        """Returns what this rank knows alone."""
        return {"model": self.model.state_dict(), "steps": int(self._averaged.n_averaged)}

    def load(self, content: dict[str, Any], group: Group) -> None:
        """Takes up what state() has returned.

        Raises:
            RuntimeError: it is of another model.
        """
        self.model.load_state_dict(content["model"])
        self._averaged.n_averaged.fill_(content["steps"])
        rows = content.get("statistics")
        if rows is not None and len(rows) == group.world:
            self.statistics.set(rows[group.rank].to(next(self.model.parameters()).device))
