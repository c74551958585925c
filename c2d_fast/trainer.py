"""The training loop. It takes any source of batches and knows nothing of video, files or DALI."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from c2d_fast import checkpoint
from c2d_fast.batch import Batch, TrainSource
from c2d_fast.errors import UserError
from c2d_fast.evaluate import Scores
from c2d_fast.metrics import Tally
from c2d_fast.precision import Precision
from c2d_fast.recipe import Training
from c2d_fast.records import Records
from c2d_fast.schedule import lr_at
from c2d_fast.step_profile import StepProfile

_RECORD_EVERY_STEPS = 20


@dataclass
class Progress:
    """How far a run has come: all that a resumed run needs beside weights and optimizer."""

    epoch: int = 0
    """Epochs finished."""
    best_top1: float = -1.0
    """Best validation top-1 so far, per cent; -1 before the first."""
    best_epoch: int = 0


@dataclass(kw_only=True)
class Trainer:
    """Trains a model for some epochs, validates after each, and keeps OUT/last.pt and OUT/best.pt."""

    model: nn.Module
    """What is saved."""
    compiled: nn.Module
    """The same parameters, as they are computed: the model itself or its compiled form."""
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    training: Training
    base_lr: float
    precision: Precision
    source: TrainSource
    validate: Callable[[], Scores] | None
    records: Records
    folder: Path
    identity: dict[str, Any]
    """Written into every checkpoint: recipe, seed, versions, lists."""
    seed: int
    progress: Progress
    profile: StepProfile | None = None
    """Records some of the first steps; open while the run goes on."""

    def run(self, epochs: int) -> None:
        """Trains until so many epochs are finished."""
        # A run stopped before its first epoch's end can be resumed, too; and a folder that a run is resumed into has both.
        self._save(*(name for name in ("best.pt", "last.pt") if not (self.folder / name).exists()))
        for epoch in range(self.progress.epoch, epochs):
            self._train_epoch(epoch, epochs)
            self.progress.epoch = epoch + 1
            self._save("last.pt")  # whatever happens in validation, the epoch is not lost
            if self._validate_epoch(epoch, epochs):
                # The best one first: last.pt, which says how good it was, must never be ahead of it.
                self._save("best.pt", "last.pt")

    def restore(self, content: dict[str, Any]) -> None:
        """Takes up where a checkpoint stopped; its weights must have been loaded into the model already."""
        self.optimizer.load_state_dict(content["optimizer"])
        if content["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(content["scaler"])
        self.progress = Progress(**content["progress"])
        if not (self.folder / "best.pt").exists():  # resumed into another folder: the best of this one is still to come
            self.progress.best_top1, self.progress.best_epoch = -1.0, 0

    def _train_epoch(self, epoch: int, epochs: int) -> None:
        device = next(self.model.parameters()).device
        tally, meter, pace = Tally(device), _Meter(), _Pace(device)
        lr = lr_at(epoch, self.base_lr, self.training)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.compiled.train()
        for step_in_epoch, batch in enumerate(meter.waiting(self.source.epoch(epoch)), start=1):
            step = epoch * self.source.steps_per_epoch + step_in_epoch
            # Dropout is a function of the step, so a resumed run drops what an uninterrupted one does.
            torch.manual_seed(int(np.random.SeedSequence([self.seed, step]).generate_state(1)[0]))
            self._step(batch, device, tally)
            pace.step()
            meter.clips += len(batch.label)
            if self.profile and (verdict := self.profile.step(meter.last_wait_s)):
                self.records.say(verdict)
            self.records.step(f"epoch {epoch + 1}/{epochs}")
            last = step_in_epoch == self.source.steps_per_epoch
            if last or step_in_epoch % _RECORD_EVERY_STEPS == 0:
                loss, top1 = tally.read()  # waits for the device
                self._check_finite(loss, step)
                figures = {"loss": loss, "top1": top1, "lr": lr, **meter.read()}
                self.records.train(step, epoch + 1, figures, last=last)

    def _step(self, batch: Batch, device: torch.device, tally: Tally) -> None:
        with self.precision.autocast(device):
            logits = self.compiled(batch.clip)
        loss = F.cross_entropy(logits, batch.label)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.training.clip_grad_norm)
        self.scaler.step(self.optimizer)  # with fp16 it waits for the device: whether a gradient overflowed
        self.scaler.update()
        tally.add(loss, logits, batch.label)

    def _validate_epoch(self, epoch: int, epochs: int) -> bool:
        """Says whether the epoch's model is the best so far; without validation each one is."""
        if self.validate is None:
            return True
        scores = self.validate()
        top1, top5 = scores.top(1), scores.top(5)
        better = top1 > self.progress.best_top1
        if better:
            self.progress.best_top1, self.progress.best_epoch = top1, epoch + 1
        best = ", best" if better else ""
        text = f"epoch {epoch + 1}/{epochs}: validation top-1 {top1:.1f} %, top-5 {top5:.1f} %{scores.share()}{best}"
        figures = {
            "loss": scores.loss(),
            "top1": top1,
            "top5": top5,
            "mean_class_accuracy": scores.mean_class_accuracy(),
            "videos": scores.num_scored,
        }
        self.records.validation((epoch + 1) * self.source.steps_per_epoch, epoch + 1, figures, text)
        return better

    def _save(self, *names: str) -> None:
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "progress": vars(self.progress).copy(),
            **self.identity,
        }
        for name in names:
            checkpoint.save(content, self.folder / name)

    def _check_finite(self, loss: float, step: int) -> None:
        if not math.isfinite(loss):
            raise UserError(
                f"training loss is {loss} at step {step}: it must be finite; {self.folder / 'last.pt'} still holds the end of "
                f"epoch {self.progress.epoch}: go on from it with another learning rate (--no-auto-scale-lr, --batch-size) or "
                "--precision fp32"
            )


class _Pace:
    """Keeps the host two steps ahead of the GPU: enough never to starve it, without queueing up batches in its memory."""

    def __init__(self, device: torch.device):
        self._is_cuda = device.type == "cuda"
        self._steps: deque[torch.cuda.Event] = deque()

    def step(self) -> None:
        """Marks the end of a step's work, and waits for that of the step before last."""
        if self._is_cuda:
            self._steps.append(torch.cuda.Event())
            self._steps[-1].record()
            if len(self._steps) > 2:
                self._steps.popleft().synchronize()


class _Meter:
    """Clips a second, and the share of the time in which the loop waited for data."""

    def __init__(self) -> None:
        self.clips = 0
        self.last_wait_s = 0.0
        self._waited_s = 0.0
        self._started_s = time.perf_counter()

    def waiting(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yields the batches, counting the time until each is there."""
        while True:
            before_s = time.perf_counter()
            batch = next(batches, None)
            self.last_wait_s = time.perf_counter() - before_s
            self._waited_s += self.last_wait_s
            if batch is None:
                return
            yield batch

    def read(self) -> dict[str, float]:
        """Returns the figures since the last reading, and starts again."""
        now_s = time.perf_counter()
        elapsed_s = now_s - self._started_s
        figures = {"clips_per_s": self.clips / elapsed_s, "data_wait_percent": 100 * self._waited_s / elapsed_s}
        self.clips, self._waited_s, self._started_s = 0, 0.0, now_s
        return figures
