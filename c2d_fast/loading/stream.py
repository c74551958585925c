"""A DALI pipeline's outputs by step: built where it is first read, rebuilt around broken videos and dead workers."""

import dataclasses
import weakref
from collections.abc import Set
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from c2d_fast.errors import EXIT_START_AGAIN, EndedError, UserError, restart_hint, smaller_batches_hint
from c2d_fast.loading import sample_problems
from c2d_fast.loading.decoder_check import check_decoder
from c2d_fast.loading.pipelines import Graph, LoaderOptions, build, error_summary, graph_name, shut_down
from c2d_fast.loading.plan import EvalPlan, TrainPlan
from c2d_fast.loading.read_retry import ReadRetry, text_of
from c2d_fast.loading.sample_info import SingleSample
from c2d_fast.loading.sample_problems import StepSlot
from c2d_fast.loading.source import ClipSource
from c2d_fast.loading.worker_pool import SampleLostError, pool_of
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.processes import worker_counts, worker_notes, worker_stacks
from c2d_fast.video.storage import is_storage_error, read_error, text_of_error

_FAILURES_IN_A_ROW = 3
_NO_MEMORY = ("out of memory", "OUT_OF_MEMORY", "MemoryAllocation", "bad_alloc")

Part = tuple[tuple[Any, ...], slice]
"""DALI TensorLists, one for each clip of a decode, and which of their samples."""


@dataclasses.dataclass
class _Outputs:
    """What the pipeline gave last."""

    clips: tuple[Any, ...]
    """DALI TensorLists, one for each clip of a decode."""
    index: NDArray[np.int64]
    first: int
    """Position of the first sample in the rank's order: step x batch + slot."""
    done: Any = None
    """A CUDA event behind all work on it, once that has been queued."""

    @property
    def end(self) -> int:
        """Position behind the last sample."""
        return self.first + len(self.index)


Plan = TypeVar("Plan", TrainPlan, EvalPlan)


class Stream(Generic[Plan]):
    """The outputs of one pipeline by step of its plan, whatever the number of samples that it decodes together."""

    def __init__(self, graph: Graph, plan: Plan, options: LoaderOptions, bad: BadVideos):
        self.plan: Plan = plan
        self.current_step = 0
        """The step that is read now, or was read last."""
        self._graph, self._options, self._bad = graph, options, bad
        self._name = graph_name(graph)
        # Videos that are scored are decoded by as many as memory allows: that is the plan's batch.
        self._size = (isinstance(plan, TrainPlan) and options.decode_batch) or plan.batch_size
        self._pipelines: list[Any] = []  # the one in use, if any
        self._next = -1  # position of the first sample that the pipeline gives next
        self._built_at = -1  # and of the first that it gave
        self._failures = 0
        self.read_retry = ReadRetry(options.wait_policy)
        weakref.finalize(self, shut_down, self._pipelines)
        self._outputs: list[_Outputs] = []  # the one in hand last, and before it those that a GPU may still be working on

    def start(self, step: int) -> None:
        """Sees to it that the next outputs are those of a step."""
        self._start(step * self.plan.batch_size)

    def exclude(self, indices: Set[int]) -> None:
        """Replaces videos from the next step on that is read."""
        if not indices <= self.plan.quarantined:
            self.plan = dataclasses.replace(self.plan, quarantined=self.plan.quarantined | indices)
            self.close()

    def close(self) -> None:
        """Ends the pipeline and its workers."""
        self._next = -1
        shut_down(self._pipelines)

    def read(self, step: int) -> tuple[list[Part], NDArray[np.int64]]:
        """Returns the clips and the video indices, int64 [N], of a step.

        Raises:
            UserError: too many videos are broken, or the graph fails for another reason.
            EndedError: workers die again and again, DALI no longer decodes sound videos, or the storage does not come back.
        """
        self.current_step = step
        self._let_go()
        parts: list[Part] = []
        index: list[NDArray[np.int64]] = []
        position, end = step * self.plan.batch_size, (step + 1) * self.plan.batch_size
        while position < end:
            self._start(position)
            if not self._holds(position):
                self._outputs.append(self._run(position))
            outputs = self._outputs[-1]
            taken = slice(position - outputs.first, min(end, outputs.end) - outputs.first)
            parts.append((outputs.clips, taken))
            index.append(outputs.index[taken])
            position = outputs.first + taken.stop
        return parts, np.concatenate(index)

    def _holds(self, position: int) -> bool:
        """Says whether the outputs in hand have the sample at a position, and are those of the pipeline's way on."""
        return bool(self._outputs) and self._outputs[-1].end == self._next and self._outputs[-1].first <= position < self._next

    def _start(self, position: int) -> None:
        if self._holds(position) or (self._pipelines and position == self._next):
            return
        shut_down(self._pipelines)
        source = self._source(position)
        self._pipelines.append(build(self._graph, source, self._options, workers=self._options.workers, batch_size=self._size))
        self._next = self._built_at = position

    def _run(self, position: int) -> _Outputs:
        """Returns the pipeline's next outputs, from a position on, once all their videos decode."""
        while True:
            self._start(position)
            verdicts: dict[StepSlot, str] = {}
            try:
                outputs = self._pipelines[0].run()
            except SampleLostError as error:
                problems, verdicts = self._look_into_loss(error, position)
            except RuntimeError as error:
                problems, verdicts = self._look_into(error, position)
            else:
                self._tell_of_deaths()
                others = getattr(self.plan, "clips_per_video", 1) - 1
                if len(outputs) != 3 + others:
                    raise UserError(
                        f"{self._name} of the pipe file has {len(outputs) - others} outputs; it must give clip, index, problem"
                    )
                worker_notes.show()
                *clips, index, texts = outputs
                problems = {self._step_slot(position + n): text for n in range(len(texts)) if (text := text_of(texts[n]))}
                if not problems:
                    self._next, self._failures = position + self._size, 0
                    self.read_retry.finish()
                    return _Outputs(tuple(clips), np.array(index.as_array()).reshape(-1), position)
            shut_down(self._pipelines)  # the same samples again
            self._quarantine(verdicts | self.read_retry.confirm(problems, lambda at: self._source(self._position(at))))

    def _step_slot(self, position: int) -> StepSlot:
        return divmod(position, self.plan.batch_size)

    def _position(self, at: StepSlot) -> int:
        return at[0] * self.plan.batch_size + at[1]

    def _source(self, position: int) -> ClipSource:
        step, slot = self._step_slot(position)
        return ClipSource(
            plan=self.plan,
            decoder=self._options.decoder,
            device="gpu" if self._options.device.type == "cuda" else "cpu",
            decoder_threads=1 if self._options.decoder == "hybrid" else self._options.decoder_threads,
            whole_files=self._options.whole_files,
            clear_cropping=self._options.clear_cropping,
            hybrid_share=self._options.hybrid_share,
            clips_at_a_time=self._size,
            first_step=step,
            first_slot=slot,
            inbox=worker_stacks.inbox(),
            cache=self._options.cache,
            counts=worker_counts.counts_path(),
            notes=worker_notes.inbox(),
        )

    def _look_into(self, error: Exception, position: int) -> tuple[dict[StepSlot, str], dict[StepSlot, str]]:
        """Finds out why a pipeline has failed, which its message does not say: (step, slot) -> what is wrong with the video.

        Returns:
            What is to be read again, and what needs no second look. Nothing where the
            pipeline has failed for no reason that is found: the same samples are to be tried again.
        """
        if any(text in str(error) for text in _NO_MEMORY):
            raise UserError(
                f"{self._name}: out of memory while decoding and augmenting {self._size} videos at a time: "
                f"{smaller_batches_hint(self._options.flags)}; DALI: {error_summary(error)}"
            ) from error
        self._tell_of_deaths()
        problems, verdicts = self._find_problems(position)
        if problems or verdicts:
            return problems, verdicts
        self._failures += 1
        if self._failures < _FAILURES_IN_A_ROW:  # what a worker could not read a moment ago, it may read now
            return {}, {}
        raise UserError(f"{self._name} of the pipe file failed, and not because of a video: {error_summary(error)}") from error

    def _look_into_loss(self, error: SampleLostError, first: int) -> tuple[dict[StepSlot, str], dict[StepSlot, str]]:
        """Returns what is wrong with a video that workers have ended at, one after the other. As _look_into.

        Args:
            error: says which sample of the pipeline it is.
            first: position of the batch that was asked for; the pipeline's own is one that is decoded ahead.
        """
        self._tell_of_deaths()
        step_slot = self._step_slot(error.sample.iteration * self._size + error.sample.idx_in_batch + self._built_at)
        texts, lost = sample_problems.find_unreadable(self._source(first), [step_slot], jobs=1)
        # A process may also hang for the storage's sake.
        file = self.plan.videos.file(self.plan.index(*step_slot))
        if lost and (problem := read_error(file)):
            return {step_slot: text_of_error(problem)}, {}
        if texts or lost:
            return texts, lost
        raise EndedError(
            f"loader workers ended: {', '.join(error.deaths)}; {len(error.deaths)} times in a row at the same sample, for no "
            f"fault of its video: lower --workers if memory is short, and {restart_hint(self._options.flags)}",
            EXIT_START_AGAIN,
        )

    def _tell_of_deaths(self) -> None:
        pool = pool_of(self._pipelines[0])
        if pool and (deaths := pool.pop_deaths()):
            tqdm.write(f"warning: loader workers ended: {', '.join(deaths)}; starting new ones, which read their samples again")

    def _find_problems(self, position: int) -> tuple[dict[StepSlot, str], dict[StepSlot, str]]:
        """Returns what is wrong with the videos of a batch that did not decode. As _look_into."""
        sources = {self._step_slot(at): self._source(at) for at in range(position, position + self._size)}
        unread = {at: text for at, source in sources.items() if (text := text_of(source(SingleSample())[-1]))}
        if unread:
            return unread, {}
        # What the workers have decoded cannot fail any more.
        files = {at: source for at, source in sources.items() if source.is_file(source.sample(*at))}
        found = sample_problems.find_undecodable(self._graph, files, self._options, try_graph=self._failures > 0)
        problems = {at: text for at, text in found.items() if is_storage_error(text)}
        verdicts = {at: text for at, text in found.items() if not is_storage_error(text)}
        if verdicts:
            self._check_decoder({self.plan.index(*at) for at in verdicts})
        return problems, verdicts

    def _check_decoder(self, accused: Set[int]) -> None:
        """Asks whether it is the videos' fault at all, before any of them is left out.

        Raises:
            EndedError: others are not decoded either.
        """
        decoder, whole = self._source(0).file_decoder, self._options.whole_files
        reason = check_decoder(self.plan.videos, decoder, self._options.device, exclude=accused, whole_files=whole)
        if reason:
            again = f"{restart_hint(self._options.flags)}, with --decoder ffmpeg if it comes again"
            raise EndedError(f"{decoder} no longer decodes: {reason}; no video is left out for that: {again}", EXIT_START_AGAIN)

    def _quarantine(self, problems: dict[StepSlot, str]) -> None:
        if not problems:
            return
        bad = {self.plan.index(step, slot): text for (step, slot), text in problems.items()}
        for index, text in bad.items():
            self._bad.add(index, text)
        quarantined = self.plan.quarantined | set(bad)
        if len(quarantined) == len(self.plan.videos):
            raise UserError(f"{self._bad.manifest.listing.path}: no video is left that decodes; look into the list's files")
        # The same samples again, with the substitutes that a run without these videos would have taken.
        self.plan = dataclasses.replace(self.plan, quarantined=quarantined)

    def _let_go(self) -> None:
        """Gives up DALI's buffers, which it reuses, once the GPU has done what was queued on them."""
        if self._options.device.type != "cuda":
            del self._outputs[:-1]
            return
        for outputs in self._outputs[:-1]:
            if outputs.done is None:  # the work on what was read before has all been queued by now
                outputs.done = torch.cuda.Event()
                outputs.done.record()
        while len(self._outputs) > 1 and self._outputs[0].done.query():
            del self._outputs[0]
