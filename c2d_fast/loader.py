"""Turns a pipe file's graph into batches: builds the DALI pipeline, survives broken videos, hands tensors over."""

import dataclasses
import signal
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from c2d_fast.bad_videos import BadVideos
from c2d_fast.batch import Batch
from c2d_fast.errors import UserError
from c2d_fast.plan import EvalPlan, TrainPlan
from c2d_fast.source import ClipSource, SingleSample

Graph = Callable[..., Any]
"""train_pipe or eval_pipe of a pipe file: makes a DALI pipeline of a ClipSource."""


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """What changes with the machine and never with the result."""

    device: torch.device
    decoder: str
    """nvdec, dali or ffmpeg."""
    workers: int
    """Processes that read (and, with ffmpeg, decode) videos."""
    decoder_threads: int
    """Threads of each FFmpeg decoder, or of the whole pipeline with nvdec and dali."""
    whole_files: bool = False
    """Read and decode files whole, up to the last wanted frame: for comparison."""


class TrainLoader:
    """Training batches. One pipeline serves all epochs: it prefetches across their borders."""

    def __init__(self, graph: Graph, plan: TrainPlan, options: LoaderOptions, bad: BadVideos):
        self._stream = _Stream(graph, plan, options, bad)
        self._labels, self._device = plan.videos.labels, options.device
        self.steps_per_epoch = plan.steps_per_epoch

    def start(self, epoch: int) -> None:
        """Builds the pipeline for an epoch's first step: what is wrong with the graph comes out now, not in the loop.

        Raises:
            UserError: the pipe file's graph does not build.
        """
        self._stream.start(epoch * self.steps_per_epoch)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch from first_step on."""
        for step in range(first_step, self.steps_per_epoch):
            clip, index = self._stream.read(epoch * self.steps_per_epoch + step)
            yield _batch(clip.as_tensor(), index, self._labels, np.ones(len(index), bool), self._device)


class EvalLoader:
    """Every view of every video of a list, in batches of one fixed size (a compiled model sees one shape)."""

    def __init__(self, graph: Graph, plan: EvalPlan, options: LoaderOptions, bad: BadVideos, *, views_per_batch: int):
        self._stream = _Stream(graph, plan, options, bad)
        self._plan, self._device, self._views_per_batch = plan, options.device, views_per_batch
        self._first_step = 0
        self.num_videos = len(plan.videos)

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
            crops, index = self._stream.read(step)
            plan = dataclasses.replace(self._plan, quarantined=self._stream.plan.quarantined)
            for slot in range(plan.batch_size):
                if plan.is_real(step, slot):
                    positions = _to_device(self._plan.positions(int(index[slot])), self._device)
                    views = from_dlpack(crops[slot])[:, positions]
                    yield views.flatten(0, 1), int(index[slot])

    def _batch(self, clip: Tensor, owners: list[int]) -> Batch:
        padded = np.array(owners + [owners[-1]] * (len(clip) - len(owners)), np.int64)
        return _batch(clip, padded, self._plan.videos.labels, np.arange(len(clip)) < len(owners), self._device)


class _Stream:
    """The outputs of one pipeline by step of its plan; built where it is first read, rebuilt around broken videos."""

    def __init__(self, graph: Graph, plan: TrainPlan | EvalPlan, options: LoaderOptions, bad: BadVideos):
        self.plan = plan
        self._graph, self._options, self._bad = graph, options, bad
        self._name = getattr(graph, "__name__", "a graph")
        self._pipelines: list[Any] = []  # the one in use, if any
        self._next_step = -1
        weakref.finalize(self, _shut_down, self._pipelines)
        self._in_use: deque[tuple[torch.cuda.Event, Any]] = deque()

    def start(self, step: int) -> None:
        """Sees to it that the pipeline's next outputs are those of a step."""
        if not self._pipelines or step != self._next_step:
            _shut_down(self._pipelines)
            self._pipelines.append(self._build(self._source(step), self._options.workers, self.plan.batch_size))
            self._next_step = step

    def read(self, step: int) -> tuple[Any, np.ndarray[Any, np.dtype[np.int64]]]:
        """Returns the clips (a DALI TensorList) and the video indices, int64 [N], of a step."""
        while True:
            self.start(step)
            problems = {}
            try:
                outputs = self._pipelines[0].run()
            except RuntimeError as error:
                # The pipeline is dead, and its message does not say of which video: find out one by one.
                problems = self._find_problems(step)
                if not problems:
                    raise UserError(
                        f"{self._name} of the pipe file failed, and not because of a video: {_last_line(error)}"
                    ) from error
            else:
                if len(outputs) != 3:
                    raise UserError(
                        f"{self._name} of the pipe file has {len(outputs)} outputs; it must give clip, index, problem"
                    )
                clips, index, texts = outputs
                problems = {slot: text for slot in range(len(texts)) if (text := _text(texts[slot]))}
            if not problems:
                break
            self._quarantine(step, problems)
        self._next_step = step + 1
        self._hold((clips, index))
        return clips, np.array(index.as_array()).reshape(-1)

    def _source(self, step: int, slot: int = 0) -> ClipSource:
        return ClipSource(
            plan=self.plan,
            decoder=self._options.decoder,
            device="gpu" if self._options.device.type == "cuda" else "cpu",
            decoder_threads=self._options.decoder_threads,
            whole_files=self._options.whole_files,
            first_step=step,
            first_slot=slot,
        )

    def _build(self, source: ClipSource, workers: int, batch_size: int) -> Any:
        options = self._options
        # Ctrl-C reaches the workers, too, and they ignore it only once they have been told to; until then it waits. Python
        # lets it through again when it starts its resource tracker: that must be running before.
        resource_tracker.ensure_running()
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            pipeline = self._graph(
                source,
                batch_size=batch_size,
                num_threads=options.decoder_threads if options.decoder != "ffmpeg" else max(options.workers, 1),
                device_id=options.device.index or 0 if options.device.type == "cuda" else None,
                py_num_workers=workers,
                py_start_method="spawn",  # a forked child of a process that uses CUDA or threads may hang
                prefetch_queue_depth=2,
            )
            pipeline.build()
        except Exception as error:  # DALI raises many kinds for a graph that is wrong
            raise UserError(f"{self._name} of the pipe file does not build: {_last_line(error)}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        return pipeline

    def _find_problems(self, step: int) -> dict[int, str]:
        """Returns slot -> what is wrong with its video, in a step whose batch did not decode."""
        slots = range(self.plan.batch_size)
        unread = {slot: text for slot in slots if (text := _text(self._source(step, slot)(SingleSample())[-1]))}
        if self._options.decoder == "ffmpeg":
            return unread  # the workers have decoded already: nothing of a video is left to fail
        # Decoding one by one takes a pipeline each: only where reading alone does not tell.
        return unread or {slot: text for slot in slots if (text := self._decode_alone(step, slot))}

    def _decode_alone(self, step: int, slot: int) -> str:
        pipelines = [self._build(self._source(step, slot), 1, 1)]
        try:
            pipelines[0].run()
        except RuntimeError as error:
            return f"does not decode ({_last_line(error)})"
        finally:
            _shut_down(pipelines)
        return ""

    def _quarantine(self, step: int, problems: dict[int, str]) -> None:
        bad = {self.plan.index(step, slot): text for slot, text in problems.items()}
        for index, text in bad.items():
            self._bad.add(index, text)
        quarantined = self.plan.quarantined | set(bad)
        if len(quarantined) == len(self.plan.videos):
            raise UserError(f"{self._bad.manifest.listing.path}: no video is left that decodes; look into the list's files")
        # The same step again, with the substitutes that a run without these videos would have taken.
        self.plan = dataclasses.replace(self.plan, quarantined=quarantined)
        _shut_down(self._pipelines)

    def _hold(self, outputs: Any) -> None:
        """Keeps DALI's buffers until the GPU has done what was queued on them: DALI reuses what Python lets go of."""
        if self._options.device.type != "cuda":
            return
        if self._in_use:
            self._in_use[-1][0].record()  # the work on the batch before has all been queued by now
        while self._in_use and self._in_use[0][0].query():
            self._in_use.popleft()
        self._in_use.append((torch.cuda.Event(), outputs))


def _shut_down(pipelines: list[Any]) -> None:
    """Ends pipelines in order: first DALI's threads, then the workers and the memory that they share.

    It is not left to Python's garbage collector: when that breaks a cycle, it runs DALI's finalizer that frees the memory
    before the one that ends the threads (read in DALI 2.4's pipeline.py).
    """
    while pipelines:
        pipelines.pop()._shutdown()


def _batch(
    clip: Any,
    index: np.ndarray[Any, np.dtype[np.int64]],
    labels: np.ndarray[Any, np.dtype[np.int64]],
    real: np.ndarray[Any, np.dtype[np.bool_]],
    device: torch.device,
) -> Batch:
    small = [_to_device(array, device) for array in (labels[index], index, real)]
    return Batch(clip if isinstance(clip, Tensor) else from_dlpack(clip), *small)


def _to_device(array: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    # From pinned memory the copy is queued; from ordinary memory the host would wait for it.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _last_line(error: Exception) -> str:
    """Returns what DALI's many lines of an error come down to."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("C++ context", "Current pipeline", "Critical error"))]
    return telling[-1] if telling else type(error).__name__


def _text(problem: Any) -> str:
    return np.array(problem).tobytes().decode(errors="replace")
