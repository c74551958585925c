"""`--profile`: a short trace of training steps for TensorBoard, and one line that says what bounds them."""

import contextlib
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch.profiler import ProfilerActivity, profile, schedule

_SKIPPED, _WARMUP, _ACTIVE = 5, 2, 6
STEPS = _SKIPPED + _WARMUP + _ACTIVE
"""Steps that a run must have for a profile."""
_WAITING = 0.1
_BUSY = 0.85


class StepProfile:
    """Records a few steps after the first ones: when each began, how long it waited for data, what ran in it."""

    def __init__(self, folder: Path, device: torch.device):
        """Prepares a profile; recording begins by itself.

        Args:
            folder: gets `profile.pt.trace.json`, for TensorBoard's profiler plugin, Perfetto and chrome://tracing; and
                `profile.txt`, the verdict.
            device: where the steps run.
        """
        self.path = folder / "profile.pt.trace.json"
        self._device, self._count = device, 0
        self._waited_s = self._started_s = self._ended_s = 0.0
        self._done = False
        activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
        wait = schedule(skip_first=_SKIPPED, wait=0, warmup=_WARMUP, active=_ACTIVE, repeat=1)
        self._profile = profile(activities=activities, schedule=wait, on_trace_ready=self._finish)
        self.verdict = ""

    def __enter__(self) -> Self:
        self._profile.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._done:
            self._profile.stop()

    def step(self, waited_s: float) -> str:
        """Marks the end of a step.

        Args:
            waited_s: how long it had waited for its batch.

        Returns:
            The verdict, once, when the last recorded step has ended; otherwise nothing.
        """
        if self._done:
            return ""
        self._count += 1
        if self._count > _SKIPPED + _WARMUP:
            self._waited_s += waited_s
        if self._count in (_SKIPPED + _WARMUP, STEPS):
            self._wait_for_device()
            self._started_s, self._ended_s = self._ended_s, time.perf_counter()
        self._profile.step()
        return self.verdict

    def _wait_for_device(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _finish(self, recorded: Any) -> None:
        if self._count < STEPS:  # the run has ended first
            return
        self._done = True
        recorded.export_chrome_trace(str(self.path))
        elapsed_s = self._ended_s - self._started_s
        is_cuda = self._device.type == "cuda"
        rows = [row for row in recorded.key_averages() if not row.key.startswith("ProfilerStep")]
        if is_cuda:  # an operator's time on the GPU stands with its kernels, too
            rows = [row for row in rows if not str(row.device_type).endswith("CPU") and not row.is_user_annotation]
        spent_us = {row.key: row.self_device_time_total if is_cuda else row.self_cpu_time_total for row in rows}
        total_us = max(sum(spent_us.values()), 1e-9)
        longest = max(spent_us, key=lambda key: spent_us[key], default="nothing")
        waiting, busy = self._waited_s / elapsed_s, min(total_us / 1e6 / elapsed_s, 1.0)
        busy_text = f", the GPU busy for {100 * busy:.0f} %" if is_cuda else ""
        self.verdict = (
            f"profile of steps {_SKIPPED + _WARMUP + 1} to {STEPS}: {1000 * elapsed_s / _ACTIVE:.1f} ms a step, "
            f"{100 * waiting:.0f} % of it waiting for data{busy_text}: {_bound(waiting, busy if is_cuda else 1.0)} "
            f"(longest: {longest}, {100 * spent_us.get(longest, 0) / total_us:.0f} %); trace: {self.path}"
        )
        with contextlib.suppress(OSError):  # it is on the console, too
            self.path.with_name("profile.txt").write_text(self.verdict + "\n")


def _bound(waiting: float, busy: float) -> str:
    if waiting > _WAITING:
        return "the loader bounds it; see python benchmarks/throughput.py --mode loader, and prepare transcode"
    if busy < _BUSY:
        return "the host bounds it: the GPU waits for Python; try a larger --batch-size, or --compile"
    return "the model bounds it"
