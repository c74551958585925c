"""What the machine does while a run goes on: CPUs, memory, GPU. Sampled by a thread, so that the training loop never waits."""

import contextlib
import itertools
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from c2d_fast.processes import worker_counts

_EVERY_S = 2.0
_FIRST_PAUSE_S = 0.25


class Gauges:
    """Samples this process with its loader workers, and this rank's GPU, until closed.

    What cannot be read is left out: without psutil CPUs and memory, without a GPU or nvidia-ml-py the GPU's metrics.
    """

    def __init__(self) -> None:
        self._samples: dict[str, list[float]] = defaultdict(list)
        self._latest: dict[str, float] = {}
        self._lock, self._end = threading.Lock(), threading.Event()
        self._frames, self._read_s = worker_counts.total(), time.monotonic()
        self._sources = [source for source in (_host(), _gpu()) if source]
        self._thread = threading.Thread(target=self._sample, name="gauges", daemon=True)
        self._thread.start()

    def read(self) -> dict[str, float]:
        """Returns the means since the last reading.

        Returns:
            decoded_frames_per_s (frames that decoders have put out, also those that clips only depend on), cpu_percent (of
            all CPUs of the machine, whoever uses them), rss_mb (of this process and its workers; what they share counts
            for each), and of this rank's GPU gpu_percent, gpu_memory_mb (whoever uses it), decoder_percent.
        """
        frames, now_s = worker_counts.total(), time.monotonic()
        metrics = {"decoded_frames_per_s": (frames - self._frames) / max(now_s - self._read_s, 1e-9)}
        self._frames, self._read_s = frames, now_s
        with self._lock:
            self._latest |= {name: statistics.fmean(values) for name, values in self._samples.items()}
            self._samples.clear()
            return metrics | self._latest  # read again before the next sample, the last ones stand

    def close(self) -> None:
        """Ends the thread; one that waits for a driver is left alone."""
        self._end.set()
        self._thread.join(1)

    def _sample(self) -> None:
        pause_s = _FIRST_PAUSE_S  # short: also a run of a few seconds tells what the CPUs did
        while self._sources:
            for source in self._sources:
                metrics = {}
                with contextlib.suppress(Exception):  # a driver, or the system's tables: never the end of a run
                    metrics = source()
                with self._lock:
                    for name, value in metrics.items():
                        self._samples[name].append(value)
            if self._end.wait(pause_s):
                return
            pause_s = _EVERY_S


def _host() -> Callable[[], dict[str, float]] | None:
    try:
        import psutil

        own = psutil.Process()
        own.memory_info()
    except Exception:  # it is not installed, or may not look
        return None
    calls = itertools.count()

    def metrics() -> dict[str, float]:
        rss = own.memory_info().rss
        # Not multiprocessing.active_children(): that hears of their ends, which the loader must hear of.
        for path in Path("/proc/self/task").glob("*/children"):
            for child in path.read_text().split():
                with contextlib.suppress(psutil.Error):  # it has just ended
                    rss += psutil.Process(int(child)).memory_info().rss
        cpu_percent = psutil.cpu_percent()  # since this thread's call before; its first one says nothing
        return {"rss_mb": rss / 1e6} | ({"cpu_percent": cpu_percent} if next(calls) else {})

    return metrics


def _gpu() -> Callable[[], dict[str, float]] | None:
    if not torch.cuda.is_available():
        return None
    try:
        nvml, handle = own_gpu()
    except Exception:  # nvidia-ml-py is not installed, or no driver answers it
        return None

    def metrics() -> dict[str, float]:
        return {
            "gpu_percent": nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
            "gpu_memory_mb": nvml.nvmlDeviceGetMemoryInfo(handle).used / 1e6,
            "decoder_percent": nvml.nvmlDeviceGetDecoderUtilization(handle)[0],
        }

    return metrics


def own_gpu() -> tuple[Any, Any]:
    """Returns NVIDIA's management library and a handle of this rank's GPU.

    Raises:
        Exception: nvidia-ml-py is not installed, or no driver answers it.
    """
    import pynvml

    pynvml.nvmlInit()
    # By its UUID: CUDA_VISIBLE_DEVICES gives PyTorch's GPUs other numbers than the driver's.
    uuid = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
    return pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid)
