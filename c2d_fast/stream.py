"""A DALI pipeline's outputs by step: built where it is first read, rebuilt around broken videos and dead workers."""

import dataclasses
import math
import multiprocessing
import os
import signal
import time
import weakref
from collections import deque
from collections.abc import Callable, Set
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from c2d_fast import orphaned_locks, worker_counts, worker_stacks
from c2d_fast.bad_videos import BadVideos
from c2d_fast.children import Lost, run_in_children
from c2d_fast.errors import EXIT_START_AGAIN, EndedError, UserError
from c2d_fast.plan import EvalPlan, TrainPlan
from c2d_fast.signals import ASK_TO_STOP
from c2d_fast.source import TOLD_TO_END, ClipSource, SingleSample, probe

Graph = Callable[..., Any]
"""train_pipe or eval_pipe of a pipe file: makes a DALI pipeline of a ClipSource."""

_PREFETCHED = 5  # steps that workers may be reading ahead: DALI's queue, the source's, and the one in hand
_PROBE_LIMIT_S = 30.0
_DEATHS_IN_A_ROW = 3
_SOUND_ENDS = (0, TOLD_TO_END)
_DEAD_LIMIT_S = 60.0
_QUIET = "ignore:resource_tracker"
_NO_MEMORY = ("out of memory", "OUT_OF_MEMORY", "MemoryAllocation", "bad_alloc")


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


class Stream:
    """The outputs of one pipeline by step of its plan."""

    def __init__(self, graph: Graph, plan: TrainPlan | EvalPlan, options: LoaderOptions, bad: BadVideos):
        self.plan = plan
        self.reading = 0
        """The step that is read now, or was read last."""
        self._graph, self._options, self._bad = graph, options, bad
        self._name = getattr(graph, "__name__", "a graph")
        self._pipelines: list[Any] = []  # the one in use, if any
        self._workers: list[BaseProcess] = []
        self._next_step = -1
        self._deaths = 0
        self._dead_since_s = math.inf
        weakref.finalize(self, _shut_down, self._pipelines)
        self._in_use: deque[tuple[torch.cuda.Event, Any]] = deque()

    def start(self, step: int) -> None:
        """Sees to it that the pipeline's next outputs are those of a step."""
        if not self._pipelines or step != self._next_step:
            _shut_down(self._pipelines)
            others = set(multiprocessing.active_children())
            self._pipelines.append(self._build(self._source(step), self._options.workers, self.plan.batch_size))
            self._workers = [process for process in multiprocessing.active_children() if process not in others]
            orphaned_locks.guard(self._pipelines[0], self._workers, _SOUND_ENDS)
            self._next_step = step

    def leave_out(self, indices: Set[int]) -> None:
        """Replaces videos from the next step on that is read."""
        if not indices <= self.plan.quarantined:
            self.plan = dataclasses.replace(self.plan, quarantined=self.plan.quarantined | indices)
            _shut_down(self._pipelines)

    def read(self, step: int) -> tuple[Any, NDArray[np.int64]]:
        """Returns the clips (a DALI TensorList) and the video indices, int64 [N], of a step.

        Raises:
            UserError: too many videos are broken, or the graph fails for another reason.
            EndedError: workers die again and again.
        """
        self.reading = step
        while True:
            self.start(step)
            try:
                outputs = self._pipelines[0].run()
            except (RuntimeError, AssertionError, ValueError) as error:  # the latter two of queues that a worker died at
                problems = self._look_into(error, step)
            else:
                if len(outputs) != 3:
                    raise UserError(
                        f"{self._name} of the pipe file has {len(outputs)} outputs; it must give clip, index, problem"
                    )
                clips, index, texts = outputs
                problems = {(step, slot): text for slot in range(len(texts)) if (text := _text(texts[slot]))}
                if not problems:
                    break
            self._quarantine(problems)
        self._next_step, self._deaths = step + 1, 0
        self._hold((clips, index))
        return clips, np.array(index.as_array()).reshape(-1)

    def long_dead(self) -> str:
        """Names workers that have been killed long ago, without this having been dealt with; called by another thread."""
        if all(process.exitcode in (None, *_SOUND_ENDS) for process in self._workers):
            self._dead_since_s = math.inf
            return ""
        self._dead_since_s = min(self._dead_since_s, time.monotonic())
        return ", ".join(self._dead_workers()) if time.monotonic() - self._dead_since_s > _DEAD_LIMIT_S else ""

    def _source(self, step: int, slot: int = 0) -> ClipSource:
        return ClipSource(
            plan=self.plan,
            decoder=self._options.decoder,
            device="gpu" if self._options.device.type == "cuda" else "cpu",
            decoder_threads=self._options.decoder_threads,
            whole_files=self._options.whole_files,
            first_step=step,
            first_slot=slot,
            inbox=worker_stacks.inbox(),
            counts=worker_counts.board(),
        )

    def _build(self, source: ClipSource, workers: int, batch_size: int) -> Any:
        options = self._options
        # Ctrl-C and a job system's signals reach the workers, too, and they leave them to us only once they have been told to;
        # until then they wait. Python lets them through again when it starts its resource tracker: that must be running before.
        # Of a run that ends at once it would print a warning, after it has tidied up.
        warnings = os.environ.get("PYTHONWARNINGS", "")
        if _QUIET not in warnings:
            os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [warnings, _QUIET]))
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})  # which would end the tracker
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, ASK_TO_STOP)
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

    def _look_into(self, error: Exception, step: int) -> dict[tuple[int, int], str]:
        """Finds out why a pipeline is dead, which its message does not say: (step, slot) -> what is wrong with the video.

        Nothing is returned where workers have died for another reason: the same step is to be tried again.
        """
        if any(text in str(error) for text in _NO_MEMORY):
            size = self.plan.batch_size
            raise UserError(
                f"{self._name}: out of memory while decoding and augmenting {size} videos at a time: lower --batch-size (twice "
                f"--accumulate makes as large a step) or --decoder-threads; DALI says: {_last_line(error)}"
            ) from error
        deaths = self._dead_workers()
        if not deaths:  # another thread may be hearing of one just now, and has not said so yet
            time.sleep(0.1)
            deaths = self._dead_workers()
        if deaths:
            self._workers = []  # noticed: looking into it may take longer than the watchdog bears them
        problems = self._probe_in_children(step) if deaths else self._find_problems(step)
        if problems:
            return problems
        if not deaths:
            raise UserError(f"{self._name} of the pipe file failed, and not because of a video: {_last_line(error)}") from error
        self._deaths += 1
        message = f"loader workers ended: {', '.join(deaths)}"
        if self._deaths >= _DEATHS_IN_A_ROW:
            raise EndedError(
                f"{message}; {self._deaths} times in a row at the same batch, for no fault of its videos: lower --workers if "
                "memory is short, and start again with --resume auto",
                EXIT_START_AGAIN,
            )
        tqdm.write(f"warning: {message}; starting new ones and reading the batch again")
        _shut_down(self._pipelines)
        return {}

    def _dead_workers(self) -> list[str]:
        """Names the workers that have ended without being told to; DALI ends all when one has."""
        if all(process.exitcode is None for process in self._workers):
            return []
        for process in self._workers:
            process.join(5)
        ended = [(process.pid, process.exitcode) for process in self._workers if process.exitcode not in (None, *_SOUND_ENDS)]
        return [f"process {pid} by {_how(code)}" for pid, code in ended if code is not None]

    def _probe_in_children(self, step: int) -> dict[tuple[int, int], str]:
        """Reads all samples that workers may have been reading, in processes of which a video may be the end."""
        steps, slots = range(step, step + _PREFETCHED), range(self.plan.batch_size)
        items = [(self._source(step), at, slot) for at in steps for slot in slots]
        found = run_in_children(probe, items, jobs=max(self._options.workers, 1), time_limit_s=_PROBE_LIMIT_S)
        texts = {(at, slot): result.reason if isinstance(result, Lost) else result for (_, at, slot), result in found}
        return {place: text for place, text in sorted(texts.items()) if text}

    def _find_problems(self, step: int) -> dict[tuple[int, int], str]:
        """Returns (step, slot) -> what is wrong with its video, in a step whose batch did not decode."""
        slots = range(self.plan.batch_size)
        unread = {(step, slot): text for slot in slots if (text := _text(self._source(step, slot)(SingleSample())[-1]))}
        if self._options.decoder == "ffmpeg":
            return unread  # the workers have decoded already: nothing of a video is left to fail
        # Decoding one by one takes a pipeline each: only where reading alone does not tell.
        return unread or {(step, slot): text for slot in slots if (text := self._decode_alone(step, slot))}

    def _decode_alone(self, step: int, slot: int) -> str:
        pipelines = [self._build(self._source(step, slot), 1, 1)]
        try:
            pipelines[0].run()
        except RuntimeError as error:
            return f"does not decode ({_last_line(error)})"
        finally:
            _shut_down(pipelines)
        return ""

    def _quarantine(self, problems: dict[tuple[int, int], str]) -> None:
        if not problems:
            return
        bad = {self.plan.index(step, slot): text for (step, slot), text in problems.items()}
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


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    hints = {signal.SIGKILL: " (perhaps for want of memory)", signal.SIGBUS: " (perhaps /dev/shm is full: docker's --shm-size)"}
    number = signal.Signals(-code)
    return number.name + hints.get(number, "")


def _last_line(error: Exception) -> str:
    """Returns what DALI's many lines of an error come down to."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("C++ context", "Current pipeline", "Critical error"))]
    return telling[-1] if telling else type(error).__name__


def _text(problem: Any) -> str:
    return np.array(problem).tobytes().decode(errors="replace")
