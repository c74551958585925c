"""Turns a pipe file's graph into batches of tensors, for training and for evaluation."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from c2d_fast.loading.batch import Batch
from c2d_fast.loading.pipelines import Graph, LoaderOptions
from c2d_fast.loading.plan import EvalPlan, TrainPlan
from c2d_fast.loading.stream import Part, Stream
from c2d_fast.manifest.bad_videos import BadVideos

__all__ = ["EvalLoader", "LoaderOptions", "TrainLoader"]


class TrainLoader:
    """Training batches. One pipeline serves all epochs: it prefetches across their borders."""

    def __init__(self, graph: Graph, plan: TrainPlan, options: LoaderOptions, bad: BadVideos):
        self._stream = Stream(graph, plan, options, bad)
        self._labels, self._device, self._accumulate = plan.videos.labels, options.device, plan.accumulate
        self._location, self._found_by_others = bad.manifest.location, bad.found_by_others
        self.steps_per_epoch, self.clips_per_step = plan.steps_per_epoch, plan.clips_per_step

    def start(self, epoch: int, first_step: int = 0) -> None:
        """Builds the pipeline for an epoch's step: what is wrong with the graph comes out now, not in the loop.

        Raises:
            UserError: the pipe file's graph does not build.
        """
        self._stream.start((epoch * self.steps_per_epoch + first_step) * self._accumulate)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch from an optimizer step on."""
        # Within an epoch no other rank meets a video again, and starting anew takes seconds.
        self._stream.exclude(self._found_by_others)
        steps = range(epoch * self.steps_per_epoch + first_step, (epoch + 1) * self.steps_per_epoch)
        for step in range(steps.start * self._accumulate, steps.stop * self._accumulate):
            parts, index = self._stream.read(step)
            clip = _joined(parts)
            yield _batch(clip, index, self._labels, np.ones(len(index), bool), self._device)

    def name(self, index: int) -> str:
        """Says which video has an index in the plan."""
        return self._location(index)

    def current_videos(self) -> list[int]:
        """Returns the videos of the batch that is read now, or was read last."""
        return _current_videos(self._stream)

    def set_heartbeat(self, heartbeat: Callable[[str], None]) -> None:
        """Takes what is called again and again while a storage is waited for, with what is done."""
        self._stream.read_retry.heartbeat = heartbeat


class EvalLoader:
    """Every view of every video of a list, in batches of one fixed size (a compiled model sees one shape)."""

    def __init__(self, graph: Graph, plan: EvalPlan, options: LoaderOptions, bad: BadVideos, *, views_per_batch: int):
        self._stream = Stream(graph, plan, options, bad)
        self._plan, self._device, self._views_per_batch = plan, options.device, views_per_batch
        self._first_step = 0
        self._location = bad.manifest.location
        self.num_videos = len(plan.videos)

    def name(self, index: int) -> str:
        """Says which video has an index in the plan."""
        return self._location(index)

    def current_videos(self) -> list[int]:
        """Returns the videos of the batch that is read now, or was read last."""
        return _current_videos(self._stream)

    def set_heartbeat(self, heartbeat: Callable[[str], None]) -> None:
        """Takes what is called again and again while a storage is waited for, with what is done."""
        self._stream.read_retry.heartbeat = heartbeat

    def views(self) -> Iterator[Batch]:
        """Yields all views of all videos in the list's order, crop-major for each; the last batch is padded."""
        pending: list[Tensor] = []
        owners: list[int] = []
        size = self._views_per_batch
        for views, index in self._videos():
            pending.append(views)
            owners.extend([index] * len(views))
            while len(owners) >= size:
                clips = torch.cat(pending)
                yield self._batch(clips[:size], owners[:size])
                pending, owners = [clips[size:]], owners[size:]
        if owners:
            clips = torch.cat(pending)
            padding = clips[:1].expand(size - len(owners), *clips.shape[1:])
            yield self._batch(torch.cat([clips, padding]), owners)

    def _videos(self) -> Iterator[tuple[Tensor, int]]:
        """Yields each video's views, uint8 [views, T, H, W, C], decoded once for all of them."""
        first, self._first_step = self._first_step, self._first_step + self._plan.steps
        for step in range(first, self._first_step):
            ((crops, _),), index = self._stream.read(step)
            plan = dataclasses.replace(self._plan, quarantined=self._stream.plan.quarantined)
            for slot in range(plan.batch_size):
                if plan.is_valid(step, slot):
                    positions = _to_device(self._plan.positions(int(index[slot])), self._device)
                    views = from_dlpack(crops[slot])[:, positions]
                    yield views.flatten(0, 1), int(index[slot])

    def _batch(self, clip: Tensor, owners: list[int]) -> Batch:
        padded = np.array(owners + [owners[-1]] * (len(clip) - len(owners)), np.int64)
        return _batch(clip, padded, self._plan.videos.labels, np.arange(len(clip)) < len(owners), self._device)


def _current_videos(stream: Stream) -> list[int]:
    return [stream.plan.index(stream.current_step, slot) for slot in range(stream.plan.batch_size)]


def _joined(parts: list[Part]) -> Tensor:
    """Returns a batch, uint8 [N, T, H, W, C]: DALI's own memory, or a copy where it lies in the outputs of two runs."""
    clips = [from_dlpack(clips.as_tensor())[samples] for clips, samples in parts]
    return clips[0] if len(clips) == 1 else torch.cat(clips)


def _batch(
    clip: Tensor,
    index: np.ndarray[Any, np.dtype[np.int64]],
    labels: np.ndarray[Any, np.dtype[np.int64]],
    valid: np.ndarray[Any, np.dtype[np.bool_]],
    device: torch.device,
) -> Batch:
    small = [_to_device(array, device) for array in (labels[index], index, valid)]
    return Batch(clip, *small)


def _to_device(array: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    # From pinned memory the copy is queued; from ordinary memory the host would wait for it.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
