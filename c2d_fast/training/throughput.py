"""How fast a run goes, and how far the host may be ahead of the GPU."""

import time
from collections import deque
from collections.abc import Callable, Iterator

import torch

from c2d_fast.loading.batch import Batch
from c2d_fast.processes import worker_counts
from c2d_fast.training.train_step import StepResult


class InFlightSteps:
    """Steps that a GPU still works on: two at most, enough never to starve it, without queueing up batches in its memory."""

    def __init__(self, device: torch.device):
        self._is_cuda = device.type == "cuda"
        self._steps: deque[tuple[torch.cuda.Event, StepResult]] = deque()

    def add(self, result: StepResult) -> list[StepResult]:
        """Marks the end of a step's work, waits for that of the step before last, and returns what has become of it."""
        if not self._is_cuda:
            return [result]
        event = torch.cuda.Event(blocking=True)  # the host sleeps in place of spinning: the loader needs the CPUs
        event.record()
        self._steps.append((event, result))
        return [self._wait()] if len(self._steps) > 2 else []

    def drain(self) -> list[StepResult]:
        """Waits for all steps."""
        return [self._wait() for _ in range(len(self._steps))]

    def _wait(self) -> StepResult:
        event, result = self._steps.popleft()
        event.synchronize()
        return result


class ThroughputMeter:
    """Clips a second, and the share of the time in which the loop waited for data."""

    def __init__(self) -> None:
        self._clips = 0
        self._step_waited_s = self._waited_s = 0.0
        self._counts = worker_counts.totals()
        self._started_s = time.perf_counter()

    def timed(self, batches: Iterator[Batch], heartbeat: Callable[[str], None]) -> Iterator[Batch]:
        """Yields the batches, counting the time until each is there; says so before and after."""
        while True:
            heartbeat("while waiting for a batch")
            before_s = time.perf_counter()
            batch = next(batches, None)
            waited_s = time.perf_counter() - before_s
            self._step_waited_s += waited_s
            self._waited_s += waited_s
            if batch is None:
                return
            heartbeat("while computing a step")
            yield batch

    def step(self, clips: int) -> float:
        """Counts a step's clips, and returns how long it has waited for them."""
        self._clips += clips
        waited_s, self._step_waited_s = self._step_waited_s, 0.0
        return waited_s

    def read(self) -> dict[str, float]:
        """Returns the metrics since the last reading, and starts again."""
        now_s = time.perf_counter()
        elapsed_s = now_s - self._started_s
        metrics = {"clips_per_s": self._clips / elapsed_s, "data_wait_percent": 100 * self._waited_s / elapsed_s}
        counts = worker_counts.totals()
        asked = counts.since(self._counts)
        if asked.requests:  # of remote videos; what was asked for ahead is counted when it is asked for
            per_clip = {"remote_bytes_per_clip": asked.bytes, "remote_requests_per_clip": asked.requests}
            metrics |= {name: value / max(self._clips, 1) for name, value in per_clip.items()}
            metrics |= {"remote_bytes_per_s": asked.bytes / elapsed_s, "remote_retries": float(asked.retries)}
        self._counts = counts
        self._clips, self._waited_s, self._started_s = 0, 0.0, now_s
        return metrics
