"""Clips per second of the loader, of the model on one cached batch, and of both; and what a clip costs, stage by stage."""

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from machine import GpuWatch
from peers import MOST_ROUNDS, batches_per_s
from stored import Form
from torch import nn
from torch.nn import functional as F

from c2d_fast import sampler
from c2d_fast.bad_videos import BadVideos
from c2d_fast.batch import Batch
from c2d_fast.crops import cut_crop
from c2d_fast.decode import choose_decoder
from c2d_fast.loader import LoaderOptions, TrainLoader
from c2d_fast.manifest import Manifest
from c2d_fast.model import C2D, compile_model
from c2d_fast.packets import from_table
from c2d_fast.plan import TrainPlan
from c2d_fast.precision import Precision
from c2d_fast.recipe import PipeFile, Recipe
from c2d_fast.schedule import make_optimizer
from c2d_fast.source import ClipSource
from c2d_fast.video import decode_images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What a loader is measured with."""

    device: torch.device
    decoder: str
    """auto, nvdec, dali or ffmpeg."""
    workers: int
    decoder_threads: int
    batch_size: int
    whole_files: bool = False
    table: bool = True
    """Whether packet tables are used, where there are any."""
    graph_crops: bool = False
    """Whether DALI's graph cuts out the crops on a CPU, too."""

    def facts(self) -> dict[str, Any]:
        """Returns plain values."""
        return dataclasses.asdict(self) | {"device": self.device.type}


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


def chosen_decoder(form: Form, setting: Setting) -> str:
    """Returns the decoder that a run would take for the form's videos."""
    return choose_decoder(setting.decoder, form.manifest, gpu=setting.device.type == "cuda")[0]


def open_loader(pipe: PipeFile, form: Form, setting: Setting, batches: int, seed: int = 0) -> Iterator[Batch]:
    """Starts a loader of training batches that lasts for so many of them at least."""
    manifest, plan = _plan(pipe, form, setting, batches, seed)
    options = LoaderOptions(
        device=setting.device,
        decoder=chosen_decoder(form, setting),
        workers=setting.workers,
        decoder_threads=setting.decoder_threads,
        whole_files=setting.whole_files,
    )
    loader = TrainLoader(pipe.train_pipe, plan, options, BadVideos(manifest, (0.0, False), "measure with others"))
    off = mock.patch.object(ClipSource, "crops_on_cpu", new_callable=mock.PropertyMock, return_value=False)
    with off if setting.graph_crops else nullcontext():  # graphs ask while they are built
        loader.start(0)
    return itertools.chain.from_iterable(loader.epoch(epoch) for epoch in itertools.count())


def _plan(pipe: PipeFile, form: Form, setting: Setting, batches: int, seed: int) -> tuple[Manifest, TrainPlan]:
    manifest = form.manifest if setting.table else dataclasses.replace(form.manifest, packet_table=None)
    # Few videos are shown several times in an epoch: they are in the page cache all the same.
    copies = -(-batches * setting.batch_size // len(manifest.kept))
    manifest = dataclasses.replace(manifest, kept=np.tile(manifest.kept, copies), broken={})
    videos, recipe = manifest.videos(), pipe.recipe
    size = setting.batch_size
    return manifest, TrainPlan(videos=videos, clip=recipe.clip, crop=recipe.crop, seed=seed, batch_size=size, name=form.name)


def clips_for_peers(pipe: PipeFile, form: Form, setting: Setting, batches: int, seed: int) -> dict[str, Any]:
    """Returns the clips that our loader would read, as the peers are told of them: plain values."""
    _, plan = _plan(pipe, form, setting, batches, seed)
    clips = []
    for step, slot in itertools.product(range(batches), range(setting.batch_size)):
        sample = plan.sample(step, slot)
        source = int(plan.videos.width[sample.index]), int(plan.videos.height[sample.index])
        scaled = sampler.scaled_size(*source, plan.short_side)
        box = np.rint(sample.boxes[0] * np.array([*scaled, *scaled])).astype(int).tolist()
        file = str(Path(plan.videos.file(sample.index)).absolute())
        clips.append({"file": file, "frames": sample.frames.tolist(), "scaled": scaled, "box": box, "flip": sample.flip})
    return {"clips": clips, "side": plan.crop.size}


def loader_round(pipe: PipeFile, form: Form, setting: Setting, warmup: int, steps: int, seed: int) -> float:
    """Returns clips a second of the loader alone, after a warm-up of so many batches."""
    batches = open_loader(pipe, form, setting, warmup + MOST_ROUNDS * steps + 2 * setting.workers + 4, seed)
    for _ in range(warmup):
        next(batches)
    return setting.batch_size * batches_per_s(lambda: _arrived(next(batches)), steps, setting.workers)


def _arrived(batch: Batch) -> None:
    """Waits for a batch that a GPU may still be working on."""
    if batch.clip.device.type == "cuda":
        torch.cuda.synchronize()


class Trained:
    """A model with its optimizer: takes training steps as the trainer does."""

    def __init__(
        self, recipe: Recipe, device: torch.device, *, precision: str | None, compiled: bool | None, mode: str | None = None
    ):
        torch.manual_seed(0)
        self.model: nn.Module = C2D(recipe.model).to(device)
        if mode:  # other ways of compiling than the trainer's
            self.compiled = torch.compile(self.model, dynamic=False, mode=mode)
        else:
            self.compiled = compile_model(self.model, compiled, device)  # type: ignore[arg-type]
        self.precision, self.recipe, self.device = Precision.choose(precision, device), recipe, device
        self.optimizer = make_optimizer(self.model, recipe.training, 1e-4)
        self.scaler = self.precision.scaler(device)

    def step(self, clip: torch.Tensor, label: torch.Tensor) -> None:
        """One step of the trainer's."""
        with self.precision.autocast(self.device):
            logits = self.compiled(clip)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(F.cross_entropy(logits, label)).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.training.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()


class EagerNCHW(nn.Module):
    """The same layers as the peers run them: not compiled, channels first, normalised in a pass of its own before the model."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model.to(memory_format=torch.contiguous_format)

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


def cached_batch(recipe: Recipe, batch_size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns a batch of noise: clip uint8 [N, T, H, W, C], label int64 [N]."""
    shape = (batch_size, recipe.clip.num_frames, recipe.crop.size, recipe.crop.size, 3)
    clip = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    return clip, torch.randint(0, recipe.model.num_classes, (batch_size,), device=device)


def model_rounds(trained: Trained, batch_size: int, warmup: int, steps: int, rounds: int) -> Rounds:
    """Measures training steps on one batch that is there already."""
    clip, label = cached_batch(trained.recipe, batch_size, trained.device)
    for _ in range(warmup):
        trained.step(clip, label)
    result = Rounds()
    with GpuWatch() as watch:
        for _ in range(rounds):
            seconds = timed(lambda: [trained.step(clip, label) for _ in range(steps)], trained.device)
            result.values.append(batch_size * steps / seconds)
        result.more = watch.read()
    if trained.device.type == "cuda":
        result.more["gpu_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return result


def both_rounds(trained: Trained, batches: Iterator[Batch], batch_size: int, warmup: int, steps: int, rounds: int) -> Rounds:
    """Measures training steps on the loader's batches."""
    classes = trained.recipe.model.num_classes

    def step() -> None:
        batch = next(batches)
        trained.step(batch.clip, batch.label % classes)

    for _ in range(warmup):
        step()
    result = Rounds()
    with GpuWatch() as watch:
        for _ in range(rounds):
            result.values.append(batch_size * steps / timed(lambda: [step() for _ in range(steps)], trained.device))
        result.more = watch.read()
    return result


def stage_costs(pipe: PipeFile, form: Form, setting: Setting, clips: int = 12) -> dict[str, float]:
    """Returns milliseconds that a clip takes in one process, stage by stage, with the ffmpeg decoder.

    read: from the page cache, the packets that the table gives. decode: with the conversion to RGB. augment: region, resize,
    flip, where workers do it.
    """
    recipe = pipe.recipe
    copies = -(-clips // len(form.manifest.kept))
    videos = dataclasses.replace(form.manifest, kept=np.tile(form.manifest.kept, copies), broken={}).videos()
    plan = TrainPlan(videos=videos, clip=recipe.clip, crop=recipe.crop, seed=0, batch_size=1)
    source = ClipSource(plan=plan, decoder="ffmpeg", device="cpu", decoder_threads=1)
    spent = dict.fromkeys(("read", "decode", "augment"), 0.0)
    for step in range(clips):
        sample = plan.sample(step, 0)
        path, stored = Path(videos.file(sample.index)), source.stored(sample.index)
        wanted = np.unique(sample.frames)
        spent["read"] += (read_s := timed(lambda p=path, s=stored, w=wanted: from_table(p, s, w)))  # type: ignore[misc]
        images: list[Any] = []
        decode = lambda p=path, s=stored, w=wanted, i=images: i.extend(decode_images(p, w, 1, s))  # noqa: E731
        spent["decode"] += max(timed(decode) - read_s, 0)
        is_scaled = min(images[0].shape[:2]) == plan.short_side
        if not find_spec("cv2"):  # workers leave it to the graph
            continue
        for box in sample.boxes:
            cut = lambda i=images, b=box, s=is_scaled: cut_crop(i, b, recipe.crop.size, flip=True, is_scaled=s)  # noqa: E731
            spent["augment"] += timed(cut)
    return {name: round(1000 * seconds / clips, 3) for name, seconds in spent.items()}


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
