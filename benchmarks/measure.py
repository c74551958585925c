"""Clips per second of the loader; and what a clip costs, stage by stage."""

import dataclasses
import itertools
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from peers import MOST_ROUNDS, batches_per_s
from rounds import timed
from stored import Form

from c2d_fast.loading.batch import Batch
from c2d_fast.loading.clip_loader import ClipLoader
from c2d_fast.loading.decode import choose_decoder
from c2d_fast.loading.frame_sampling import Multi
from c2d_fast.loading.pipelines import LoaderOptions
from c2d_fast.loading.plan import Sample, TrainPlan
from c2d_fast.loading.source import ClipSource
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.manifest.manifest import Manifest
from c2d_fast.recipe import PipeFile
from c2d_fast.video.crops import cut_crop, scale_frames
from c2d_fast.video.packets import from_table
from c2d_fast.video.reader import decode_images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What a loader is measured with."""

    device: torch.device
    decoder: str
    """auto, nvdec, dali, ffmpeg or hybrid."""
    workers: int
    decoder_threads: int
    batch_size: int
    clips_per_decode: int = 1
    """Clips that are made of one decode of a video."""
    decode_batch: int = 0
    """Clips that are decoded at a time; 0: as many as a batch has."""
    hybrid_share: float | None = None
    """With the decoder hybrid: the share of the clips that NVDEC decodes; None: what both reach alone decides."""
    clear_cropping: bool = True
    """Whether the cropping is cleared in the streams that NVDEC is fed, so that its sessions can be used again."""
    whole_files: bool = False
    table: bool = True
    """Whether packet tables are used, where there are any."""
    graph_crops: bool = False
    """Whether DALI's graph cuts out the crops on a CPU, too."""

    def facts(self) -> dict[str, Any]:
        """Returns plain values."""
        return dataclasses.asdict(self) | {"device": self.device.type}


def chosen_decoder(form: Form, setting: Setting) -> str:
    """Returns the decoder that a run would take for the form's videos."""
    gpu = setting.device.type == "cuda"
    return choose_decoder(setting.decoder, form.manifest, gpu=gpu, whole_files=setting.whole_files)[0]


def open_loader(pipe: PipeFile, form: Form, setting: Setting, batches: int, seed: int = 0) -> Iterator[Batch]:
    """Starts a loader of training batches that lasts for so many of them at least."""
    manifest, plan = _plan(pipe, form, setting, batches, seed)
    decoder = chosen_decoder(form, setting)
    assert decoder != "hybrid" or setting.hybrid_share is not None, "Shares.fill_in has not been asked"
    options = LoaderOptions(
        device=setting.device,
        decoder=decoder,
        workers=setting.workers,
        decoder_threads=setting.decoder_threads,
        decode_batch=setting.decode_batch,
        hybrid_share=setting.hybrid_share or 0.0,
        clear_cropping=setting.clear_cropping,
        whole_files=setting.whole_files,
    )
    loader = ClipLoader(
        BadVideos(manifest, (0.0, False), "measure with others"),
        clip=plan.clip,
        crop=plan.crop,
        seed=seed,
        batch_size=setting.batch_size,
        rank=0,
        world_size=1,
        graph=pipe.train_pipe,
        options=options,
    )
    off = mock.patch.object(ClipSource, "crops_on_cpu", new_callable=mock.PropertyMock, return_value=False)
    with off if setting.graph_crops else nullcontext():  # graphs ask while they are built
        loader.start()
    return itertools.chain.from_iterable(itertools.repeat(loader))


def _plan(pipe: PipeFile, form: Form, setting: Setting, batches: int, seed: int) -> tuple[Manifest, TrainPlan]:
    manifest = form.manifest if setting.table else dataclasses.replace(form.manifest, packet_table=None)
    # Few videos are shown several times in an epoch: they are in the page cache all the same.
    copies = -(-batches * setting.batch_size // len(manifest.kept))
    manifest = dataclasses.replace(manifest, kept=np.tile(manifest.kept, copies), broken={})
    videos, recipe = manifest.videos(), pipe.recipe
    clip = recipe.clip if setting.clips_per_decode == 1 else Multi(setting.clips_per_decode, recipe.clip)
    size = setting.batch_size // setting.clips_per_decode
    return manifest, TrainPlan(videos=videos, clip=clip, crop=recipe.crop, seed=seed, batch_size=size, name=form.name)


def clips_for_peers(pipe: PipeFile, form: Form, setting: Setting, batches: int, seed: int) -> dict[str, Any]:
    """Returns the clips that our loader would read, as the peers are told of them: plain values."""
    _, plan = _plan(pipe, form, setting, batches, seed)
    clips = []
    for step, slot in itertools.product(range(batches), range(setting.batch_size)):
        sample = plan.sample(step, slot)
        scaled = plan.scaled_size(sample.index)
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


def _cut(source: ClipSource, images: list[Any], sample: Sample) -> None:
    if source.scales_first:
        images = scale_frames(images, source.plan.scaled_size(sample.index))
    is_scaled = min(images[0].shape[:2]) == source.plan.short_side
    for box in sample.boxes:
        cut_crop(images, box, source.crop_size, flip=True, is_scaled=is_scaled)


def stage_costs(pipe: PipeFile, form: Form, setting: Setting, clips: int = 12) -> dict[str, float]:
    """Returns milliseconds that a clip takes in one process, stage by stage, with the ffmpeg decoder.

    read: from the page cache, the packets that the table gives. decode: with the conversion to RGB. augment: region, resize,
    flip, where workers do it, and scaling before them.
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
        if find_spec("cv2"):  # without it, workers leave it to the graph
            spent["augment"] += timed(lambda i=images, s=sample: _cut(source, i, s))  # type: ignore[misc]
    return {name: round(1000 * seconds / clips, 3) for name, seconds in spent.items()}
