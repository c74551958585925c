"""Training steps as the trainer takes them, by the trainer's own code, on a cached batch or on a loader's. Needs no DALI."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from machine import GpuWatch
from rounds import Rounds, timed
from torch import nn
from torch.nn import functional as F

from c2d_fast.loading.batch import Batch
from c2d_fast.model.c2d import C2D, compile_model
from c2d_fast.model.precision import Precision
from c2d_fast.recipe import Model, Recipe
from c2d_fast.training.determinism import tune_kernels
from c2d_fast.training.distributed import Group
from c2d_fast.training.metrics import RunningMetrics
from c2d_fast.training.schedule import make_optimizer
from c2d_fast.training.throughput import InFlightSteps
from c2d_fast.training.train_step import TrainStep


class EagerNCHW(nn.Module):
    """The same layers as the peers run them: not compiled, channels first, normalised in a pass of its own before the model."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = C2D(model).to(memory_format=torch.contiguous_format)

    def forward(self, clip: torch.Tensor) -> Any:
        """Classifies clips, uint8 [N, T, H, W, C], that a loader would have brought as [N, T, C, H, W]."""
        model, frames = self.model, clip.shape[1]
        x = clip.flatten(0, 1).permute(0, 3, 1, 2).contiguous()
        x = (x.float() - model.mean) * model.inverse_std
        x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
        x = model.layer1(x)
        if model.temporal_pool:
            x = x.view(-1, frames, *x.shape[1:]).transpose(1, 2)
            x = F.max_pool3d(x, (2, 1, 1), (2, 1, 1)).transpose(1, 2).flatten(0, 1)
        x = model.layer4(model.layer3(model.layer2(x)))
        features = x.mean((2, 3)).view(len(clip), -1, x.shape[1]).mean(1)
        return model.fc(model.dropout(features)).float()


class Trained:
    """A model with its optimizer, that takes the trainer's steps at the trainer's pace."""

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        *,
        precision: str | None,
        compiled: bool | None,
        mode: str | None = None,
        channels_first: bool = False,
    ):
        """Makes the model.

        Args:
            recipe: whose model it is.
            device: where it trains.
            precision: bf16, fp16 or fp32; None: the trainer's default.
            compiled: whether it is compiled; None: the trainer's default.
            mode: another way of compiling than the trainer's, by torch.compile's name of it.
            channels_first: as the peers run it, see EagerNCHW.
        """
        tune_kernels(device)
        torch.manual_seed(0)
        # In its layout before the optimizer is made: the fused one demands momentum of the weights' strides.
        self.model: nn.Module = (EagerNCHW(recipe.model) if channels_first else C2D(recipe.model)).to(device)
        if mode:
            forward: nn.Module = torch.compile(self.model, dynamic=False, mode=mode)  # type: ignore[assignment]
        else:
            forward = compile_model(self.model, compiled, device)  # type: ignore[arg-type]
        self.precision, self.recipe, self.device = Precision.choose(precision, device), recipe, device
        self.train_step = TrainStep(
            model=self.model,
            forward=forward.train(),
            optimizer=make_optimizer(self.model, recipe.training, 1e-4),
            scaler=self.precision.scaler(device),
            precision=self.precision,
            clip_grad_norm=recipe.training.clip_grad_norm,
            seed=0,
            group=Group(),
        )
        self._metrics, self._in_flight, self._steps = RunningMetrics(device), InFlightSteps(device), 0

    def step(self, batch: Batch) -> None:
        """Takes one step; waits for the GPU's step before last, as the trainer does."""
        self._steps += 1
        self._in_flight.add(self.train_step(iter([batch]), self._steps, self._metrics))


def cached_batch(recipe: Recipe, batch_size: int, device: torch.device) -> Batch:
    """Returns a batch of noise."""
    shape = (batch_size, recipe.clip.num_frames, recipe.crop.size, recipe.crop.size, 3)
    return Batch(
        clip=torch.randint(0, 256, shape, dtype=torch.uint8, device=device),
        label=torch.randint(0, recipe.model.num_classes, (batch_size,), device=device),
        index=torch.arange(batch_size, device=device),
        valid=torch.ones(batch_size, dtype=torch.bool, device=device),
    )


def model_rounds(trained: Trained, batch_size: int, warmup: int, steps: int, rounds: int) -> Rounds:
    """Measures training steps on one batch that is there already."""
    batch = cached_batch(trained.recipe, batch_size, trained.device)
    if trained.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(trained.device)
    for _ in range(warmup):
        trained.step(batch)
    result = Rounds()
    with GpuWatch() as watch:
        for _ in range(rounds):
            seconds = timed(lambda: [trained.step(batch) for _ in range(steps)], trained.device)
            result.values.append(batch_size * steps / seconds)
    result.more = watch.read() | watch.energy(batch_size * steps * rounds)
    if trained.device.type == "cuda":
        result.more["gpu_memory_gb"] = round(torch.cuda.max_memory_allocated(trained.device) / 1e9, 2)
    return result


def both_rounds(trained: Trained, batches: Iterator[Batch], batch_size: int, warmup: int, steps: int, rounds: int) -> Rounds:
    """Measures training steps on the loader's batches."""
    classes = trained.recipe.model.num_classes

    def step() -> None:
        batch = next(batches)
        trained.step(dataclasses.replace(batch, label=batch.label % classes))

    for _ in range(warmup):
        step()
    result = Rounds()
    with GpuWatch() as watch:
        for _ in range(rounds):
            result.values.append(batch_size * steps / timed(lambda: [step() for _ in range(steps)], trained.device))
    result.more = watch.read() | watch.energy(batch_size * steps * rounds)
    return result
