"""What a benchmark was measured on, and what the GPU was doing meanwhile."""

import os
import platform
import statistics
import threading
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self


def describe_machine(*packages: str) -> dict[str, Any]:
    """Returns the CPU, the GPU if there is one, and versions: plain values. Packages that are not installed are None."""
    import torch

    machine = describe_host(*packages)
    if torch.cuda.is_available():
        machine |= {"gpu": torch.cuda.get_device_name(0), "cuda": torch.version.cuda, "driver": _driver()}
    return machine


def describe_host(*packages: str) -> dict[str, Any]:
    """Returns the same without a look at the GPU, and without torch being imported."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "cpu": next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), ""),
        "cpus": len(os.sched_getaffinity(0)),
        "gpu": None,
        "python": platform.python_version(),
        "torch": version("torch"),
        **dali_versions(),
        **{package: version(package) for package in ("av", *packages)},
    }


def dali_versions() -> dict[str, str]:
    """Returns the DALI that is installed, under the name of its package: there is one for each generation of CUDA."""
    found = {name: version(name) for name in ("nvidia-dali-cuda110", "nvidia-dali-cuda120", "nvidia-dali-cuda130")}
    return {name: text for name, text in found.items() if text}


def version(package: str, folder: Path | None = None) -> str | None:
    """Returns the version of an installed package, or of one in a folder of its own; None where it is not there."""
    if folder:
        return next((found.version for found in metadata.distributions(name=package, path=[str(folder)])), None)
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def held_by(pid: int, memory: str = "Pss") -> tuple[float, int]:
    """Returns what a process and all that it has started hold: MB, and open files.

    Args:
        pid: the process.
        memory: Pss (shared pages are divided among all that share them, other programs included) or Rss (counted for each).
    """
    megabytes, files = 0.0, 0
    for process in [pid, *_below(pid)]:
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
            megabytes += int(rollup.partition(f"\n{memory}:")[2].split()[0]) * 1024 / 1e6
            files += len(os.listdir(f"/proc/{process}/fd"))
        except (OSError, IndexError):  # it has just ended
            continue
    return megabytes, files


def _below(pid: int) -> list[int]:
    children = [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
    return children + [one for child in children for one in _below(child)]


class GpuWatch:
    """What the GPU does while it is open: how busy it and its video decoders are, sampled five times a second, and its energy.

    Without NVML, nothing.
    """

    def __init__(self) -> None:
        from c2d_fast.reporting.energy import energy_counter

        self._nvml, self._samples, self._end = _nvml(), [], threading.Event()
        self._energy, self._before, self._joules = energy_counter(), None, None
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        if self._nvml:
            self._thread.start()
        self._before = self._energy() if self._energy else None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        from c2d_fast.reporting.energy import joules_between

        self._joules = joules_between(self._before, self._energy() if self._energy else None)
        self._end.set()
        if self._nvml:
            self._thread.join()

    def read(self) -> dict[str, float | None]:
        """Returns the mean per cent of busy time of GPU and decoders; None where it is not known."""
        columns = list(zip(*self._samples, strict=True)) or [(), ()]
        means = [round(statistics.mean(column), 1) if column else None for column in columns]
        return {"gpu_percent": means[0], "decoder_percent": means[1]}

    def energy(self, clips: int) -> dict[str, float]:
        """Returns the joules of a clip, of so many that the GPU has worked on meanwhile; nothing where it has no counter."""
        return {} if self._joules is None else {"joules_per_clip": round(self._joules / clips, 4)}

    def _sample(self) -> None:
        nvml, handle = self._nvml
        while not self._end.wait(0.2):
            try:
                busy = nvml.nvmlDeviceGetUtilizationRates(handle).gpu
                self._samples.append((busy, nvml.nvmlDeviceGetDecoderUtilization(handle)[0]))
            except nvml.NVMLError:
                return


def _nvml() -> Any:
    """Returns NVIDIA's management library and a handle of the first GPU; None where there is none."""
    import torch

    if not torch.cuda.is_available():
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
    except Exception:  # not installed, or no driver that answers
        return None


def _driver() -> str | None:
    nvml = _nvml()
    return str(nvml[0].nvmlSystemGetDriverVersion()) if nvml else None
