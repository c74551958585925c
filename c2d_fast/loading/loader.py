"""Turns a pipe file's graph into batches of tensors, for training and for evaluation."""

import dataclasses
from collections.abc import Callable, Iterator, Set
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
from c2d_fast.manifest.videos import Videos

__all__ = ["EvalLoader", "LoaderOptions", "TrainLoader"]


class TrainLoader:
    """Training batches. One pipeline serves all epochs: it prefetches across their borders."""

    num_classes = 0
    """Width of Batch.targets; 0: up to the largest label."""

    def __init__(self, graph: Graph, plan: TrainPlan, options: LoaderOptions, bad: BadVideos):
        self._stream: Stream[TrainPlan] = Stream(graph, plan, options, bad)
        self._videos, self._device, self._accumulate = plan.videos, options.device, plan.accumulate
        self._clips_per_video = plan.clips_per_video
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
        return self.batches(epoch, first_step * self._accumulate)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch from one of them on."""
        # Within an epoch no other rank meets a video again, and starting anew takes seconds.
        self._stream.exclude(self._found_by_others)
        num_batches = self.steps_per_epoch * self._accumulate
        for step in range(epoch * num_batches + first, (epoch + 1) * num_batches):
            parts, videos = self._stream.read(step)
            clip, index = _joined(parts), np.repeat(videos, self._clips_per_video)
            valid = np.arange(len(index)) < self._stream.plan.rows(step) * self._clips_per_video
            yield _batch(clip, index, self._videos, valid, self._device, self.num_classes)

    def name(self, index: int) -> str:
        """Says which video has an index in the plan."""
        return self._location(index)

    def quarantined(self) -> frozenset[int]:
        """Returns the videos that have turned out to be broken."""
        return self._stream.plan.quarantined

    def current_videos(self) -> list[int]:
        """Returns the videos of the batch that is read now, or was read last."""
        return _current_videos(self._stream)

    def set_heartbeat(self, heartbeat: Callable[[str], None]) -> None:
        """Takes what is called again and again while a storage is waited for, with what is done."""
        self._stream.read_retry.heartbeat = heartbeat

    def exclude(self, indices: Set[int]) -> None:
        """Replaces videos by others."""
        self._stream.exclude(indices)

    def close(self) -> None:
        """Ends the workers; what is read next starts others."""
        self._stream.close()


class EvalLoader:
    """Every view of every video of a list, in batches of one fixed size (a compiled model sees one shape)."""

    num_classes = 0
    """As of TrainLoader."""

    def __init__(self, graph: Graph, plan: EvalPlan, options: LoaderOptions, bad: BadVideos, *, views_per_batch: int):
        self._stream: Stream[EvalPlan] = Stream(graph, plan, options, bad)
        self._plan, self._device, self._views_per_batch = plan, options.device, views_per_batch
        self._first_step = 0
        self._location = bad.manifest.location
        self.num_videos, self.num_views = len(plan.videos), plan.num_views

    def name(self, index: int) -> str:
        """Says which video has an index in the plan."""
        return self._location(index)

    def current_videos(self) -> list[int]:
        """Returns the videos of the batch that is read now, or was read last."""
        return _current_videos(self._stream)

    def set_heartbeat(self, heartbeat: Callable[[str], None]) -> None:
        """Takes what is called again and again while a storage is waited for, with what is done."""
        self._stream.read_retry.heartbeat = heartbeat

    def quarantined(self) -> frozenset[int]:
        """Returns the videos that have turned out to be broken."""
        return self._stream.plan.quarantined

    def close(self) -> None:
        """Ends the workers; what is read next starts others."""
        self._stream.close()

    def exclude(self, indices: Set[int]) -> None:
        """Leaves videos out."""
        self._stream.exclude(indices)

    def views(self, skip: int = 0) -> Iterator[Batch]:
        """Yields all views of all videos in the list's order, crop-major for each; the last batch is padded.

        Args:
            skip: views that are left out at the beginning.
        """
        pending: list[Tensor] = []
        owners: list[int] = []
        size = self._views_per_batch
        first_video, skip = divmod(skip, self.num_views)
        for views, index in self._videos(first_video):
            pending.append(views[skip:])
            owners.extend([index] * (len(views) - skip))
            skip = 0
            while len(owners) >= size:
                clips = torch.cat(pending)
                yield self._batch(clips[:size], owners[:size])
                pending, owners = [clips[size:]], owners[size:]
        if owners:
            clips = torch.cat(pending)
            padding = clips[:1].expand(size - len(owners), *clips.shape[1:])
            yield self._batch(torch.cat([clips, padding]), owners)

    def _videos(self, skip: int) -> Iterator[tuple[Tensor, int]]:
        """Yields each video's views, uint8 [views, T, H, W, C], decoded once for all of them, but for the first few videos'."""
        first, self._first_step = self._first_step, self._first_step + self._plan.steps
        for step in range(first, self._first_step):
            here = sum(self._stream.plan.is_valid(step, slot) for slot in range(self._plan.batch_size)) if skip else 0
            if skip >= here > 0:
                skip -= here
                continue
            (((crops,), _),), index = self._stream.read(step)
            plan = dataclasses.replace(self._plan, quarantined=self._stream.plan.quarantined)
            for slot in range(plan.batch_size):
                if not plan.is_valid(step, slot):
                    continue
                if skip:
                    skip -= 1
                else:
                    positions = _to_device(self._plan.positions(int(index[slot])), self._device)
                    views = from_dlpack(crops[slot])[:, positions]
                    yield views.flatten(0, 1), int(index[slot])

    def _batch(self, clip: Tensor, owners: list[int]) -> Batch:
        padded = np.array(owners + [owners[-1]] * (len(clip) - len(owners)), np.int64)
        valid = np.arange(len(clip)) < len(owners)
        return _batch(clip, padded, self._plan.videos, valid, self._device, self.num_classes)


def _current_videos(stream: Stream[TrainPlan] | Stream[EvalPlan]) -> list[int]:
    return [stream.plan.index(stream.current_step, slot) for slot in range(stream.plan.batch_size)]


def _joined(parts: list[Part]) -> Tensor:
    """Returns a batch, uint8 [N, T, H, W, C]: DALI's own memory, or a copy of the outputs of two runs, or of several clips."""
    joined = [_side_by_side([from_dlpack(clip.as_tensor())[samples] for clip in clips]) for clips, samples in parts]
    return joined[0] if len(joined) == 1 else torch.cat(joined)


def _side_by_side(clips: list[Tensor]) -> Tensor:
    """Returns the clips of each video one after the other."""
    return clips[0] if len(clips) == 1 else torch.stack(clips, 1).flatten(0, 1)


def _batch(
    clip: Tensor,
    index: np.ndarray[Any, np.dtype[np.int64]],
    videos: Videos,
    valid: np.ndarray[Any, np.dtype[np.bool_]],
    device: torch.device,
    num_classes: int,
) -> Batch:
    label, on_device, counts = (_to_device(array, device) for array in (videos.labels[index].astype(np.int64), index, valid))
    paths = [videos.file(number) for number in index.tolist()]
    targets, sets = None, videos.label_sets
    if sets is not None:
        targets = _to_device(sets.targets(index, num_classes or sets.largest + 1), device)
    return Batch(clip, label, on_device, counts, path=paths, num_valid=int(valid.sum()), targets=targets)


def _to_device(array: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    # From pinned memory the copy is queued; from ordinary memory the host would wait for it.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
