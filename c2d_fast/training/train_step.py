"""One optimizer step, on one rank or many, from one batch or several. Read it top to bottom for the order of events."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from c2d_fast.errors import UserError
from c2d_fast.loading.batch import Batch
from c2d_fast.model.precision import Precision
from c2d_fast.reporting.gallery import Gallery
from c2d_fast.reporting.host_copy import to_host
from c2d_fast.training.averaged_weights import AveragedWeights
from c2d_fast.training.batch_norm import RunningStatistics
from c2d_fast.training.distributed import Group
from c2d_fast.training.metrics import RunningMetrics, batch_sums
from c2d_fast.training.mixing import Mix, Mixing
from c2d_fast.training.objective import Objective
from c2d_fast.training.teacher import Teacher

_NO_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc")


@dataclass(frozen=True)
class StepResult:
    """What has become of a step. Its tensors may still be on their way from a GPU."""

    step: int
    applied: Tensor
    """bool, on the CPU: whether the gradients were finite, and the step was applied."""
    losses: Tensor
    """Mean loss of each of this rank's batches, on the device."""
    indices: list[Tensor]
    """Of each of them the videos' indices in the plan, on the device."""


@dataclass(kw_only=True)
class TrainStep:
    """Computes gradients and applies them, unless they are not finite."""

    model: nn.Module
    """What is saved."""
    forward: nn.Module
    """The same parameters, as they are computed: the model itself, its compiled form, or what averages gradients over ranks."""
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    precision: Precision
    clip_grad_norm: float
    seed: int
    group: Group
    accumulate: int = 1
    """Batches that a step takes; their gradients are averaged."""
    objective: Objective = field(default_factory=lambda: Objective(0))
    """The loss; by default the cross entropy of single labels."""
    mixing: Mixing | None = None
    teacher: Teacher | None = None
    averaged: AveragedWeights | None = None
    gallery: Gallery | None = None
    """Is shown what the model is fed, while there is one."""
    statistics_before: Tensor | None = None
    """Running statistics before the step."""
    phase: str = "idle"
    """idle, computing (weights are those of the step before) or updating (they are neither the old nor the new ones)."""

    @cached_property
    def statistics(self) -> RunningStatistics:
        """Returns the running statistics of batch normalisation."""
        return RunningStatistics(self.model)

    @cached_property
    def device(self) -> torch.device:
        """Returns where the model is."""
        return next(self.model.parameters()).device

    def average_statistics(self) -> None:
        """Gives all ranks the mean of their running statistics."""
        for statistics in (self.statistics, self.averaged.statistics) if self.averaged else (self.statistics,):
            statistics.average(self.group)

    def __call__(self, batches: Iterator[Batch], step: int, metrics: RunningMetrics) -> StepResult:
        """Takes a step; nothing in it waits for a GPU.

        Args:
            batches: as many are taken as a step needs.
            step: its number, counted from 1 over the whole run.
            metrics: gets the loss and the hits, if the step is good.

        Raises:
            UserError: the memory does not suffice.
        """
        taken: list[Batch] = []
        try:
            return self._take(batches, step, metrics, taken)
        except (
            RuntimeError,
            MemoryError,
        ) as error:  # torch.OutOfMemoryError is a RuntimeError; on a CPU there is no kind of it
            if isinstance(error, MemoryError) or any(text in str(error) for text in _NO_MEMORY):
                raise UserError(self._advice(step, len(taken[-1].label) if taken else 0)) from error
            raise

    def _take(self, batches: Iterator[Batch], step: int, metrics: RunningMetrics, taken: list[Batch]) -> StepResult:
        losses, sums = [], torch.zeros(4, dtype=torch.float64, device=self.device)
        self.statistics_before = before = self.statistics.vector()
        self.optimizer.zero_grad(set_to_none=True)
        for micro_step in range(self.accumulate):
            batch = next(batches, None)
            assert batch is not None, "the source gave fewer batches than its epoch has steps"
            taken.append(batch)
            self.phase = "computing"
            # A function of the step and of the batch's place in it: a resumed run drops and mixes what an uninterrupted one
            # does, and one rank that accumulates what several do.
            part = micro_step * self.group.world + self.group.rank
            mix = self.mixing.draw(step, part, *batch.clip.shape[2:4]) if self.mixing else Mix()
            clip, targets = mix.clips(batch.clip) if self.mixing else batch.clip, self.objective.targets(batch, mix)
            taught = self.teacher(batch, clip, mix) if self.teacher else None
            self._seed_dropout(step, part)
            with self._without_sync(last=micro_step == self.accumulate - 1):
                with self.precision.autocast(self.device):
                    logits = self.forward(clip)
                loss = self.objective(logits, targets, taught)
                # With several ranks the last backward also averages the gradients over them.
                self.scaler.scale(loss / self.accumulate).backward()
            if self.gallery:
                self.gallery.update(replace(batch, clip=clip.byte()) if self.mixing else batch, logits)
            losses.append(loss.detach())
            sums += batch_sums(loss, logits, batch.label, batch.targets, ignores=targets.labelled is not None)
        self.scaler.unscale_(self.optimizer)
        # The same on every rank, whichever had the bad batch: the gradients have been averaged. A loss that is not finite shows
        # in them, too.
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad_norm)
        good = norm.isfinite()
        self.phase = "updating"
        self._apply(good)
        self.statistics.restore_unless(good, before)
        if self.averaged:  # with the weights of the step before, where this one was not applied
            self.averaged.update(self.model)
        metrics.add(torch.where(good, sums, 0), torch.where(good, norm, 0), good)
        return StepResult(step, to_host(good), torch.stack(losses), [batch.index for batch in taken])

    def _apply(self, good: Tensor) -> None:
        if self.scaler.is_enabled():
            # It looks at the gradients itself, and on a GPU the fused optimizer skips a bad step on the device.
            self.scaler.step(self.optimizer)
            self.scaler.update()
        elif self.optimizer.defaults.get("fused"):
            self.optimizer.found_inf = (~good).float()  # type: ignore[attr-defined]  # read by the fused optimizer's kernel
            self.optimizer.step()
        elif good:  # waits for a GPU, which has no such kernel for this optimizer
            self.optimizer.step()

    def _seed_dropout(self, step: int, part: int) -> None:
        torch.manual_seed(int(np.random.SeedSequence([self.seed, step, part]).generate_state(1)[0]))

    def _without_sync(self, *, last: bool) -> AbstractContextManager[None]:
        if isinstance(self.forward, DistributedDataParallel) and not last:
            return self.forward.no_sync()
        return nullcontext()

    def _advice(self, step: int, clips: int) -> str:
        if clips > 1:
            remedy = f"--batch-size {clips // 2} --accumulate {2 * self.accumulate}, which makes as large a step"
        else:
            remedy = "--precision bf16, or a recipe with fewer frames"
        where = f"out of memory on {self.device} in step {step} with --batch-size {clips}, {self.precision.name}"
        return f"{where}: try {remedy}; the run's checkpoints are whole, go on with --resume auto"
