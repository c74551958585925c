"""What training costs in energy: joules of the GPUs of all ranks, for each clip and each epoch."""

import torch

from c2d_fast.reporting.energy import energy_counter, joules_between
from c2d_fast.training.distributed import Group


class EnergyMeter:
    """Joules from one reading to the next. Every rank calls each method after the same step.

    Where there are no counters, nothing is read.
    """

    def __init__(self, group: Group, device: torch.device):
        """Finds the counter of this rank's GPU.

        Args:
            group: whose GPUs are counted: all, or none where one of them has no counter.
            device: of this rank.
        """
        self._group, self._device = group, device
        self._counter = energy_counter()
        if not all(group.all_gather_object(self._counter is not None)):
            self._counter = None
        self._clips, self._before = 0, self._now()
        self._epoch: float | None = 0.0

    def begin_epoch(self, clips: int) -> None:
        """Starts to count.

        Args:
            clips: of the epoch that have been taken before: then its total will not be known.
        """
        self._clips, self._before, self._epoch = clips, self._now(), None if clips else 0.0

    def read(self, clips: int, *, last: bool) -> dict[str, float]:
        """Returns what was taken since the last reading. Waits for the other ranks.

        Args:
            clips: of the epoch that have been taken.
            last: whether the epoch's steps are done.

        Returns:
            joules_per_clip; and at the epoch's end epoch_joules, of its training steps. Without those that are not known.
        """
        if self._counter is None:
            return {}
        now = self._now()
        taken = joules_between(self._before, now)
        sums = torch.tensor([taken or 0.0, taken is None], dtype=torch.float64, device=self._device)
        joules, unknown = self._group.sum(sums).tolist()
        since, self._clips, self._before = clips - self._clips, clips, now
        if unknown:  # a driver that was loaded anew, or did not answer
            self._epoch = None
            return {}
        figures = {"joules_per_clip": joules / since} if since else {}
        if self._epoch is not None:
            self._epoch += joules
        return figures | ({"epoch_joules": self._epoch} if last and self._epoch is not None else {})

    def _now(self) -> float | None:
        return self._counter() if self._counter else None
