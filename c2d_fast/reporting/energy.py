"""Joules that this rank's GPU has taken, by the counter that NVML has of it."""

from collections.abc import Callable

import torch

from c2d_fast.reporting.gauges import own_gpu


def energy_counter() -> Callable[[], float | None] | None:
    """Returns what reads the counter: joules since the driver was loaded, None where it does not answer.

    The counter is the GPU's own, whoever uses it. There is one since Volta, but not of parts of a GPU (MIG).

    Returns:
        None without a GPU, without nvidia-ml-py, or where the GPU has no such counter.
    """
    if not torch.cuda.is_available():
        return None
    try:
        nvml, handle = own_gpu()
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # nvidia-ml-py is not installed, no driver answers it, or the GPU does not count
        return None

    def joules() -> float | None:
        try:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
        except Exception:  # a driver: never the end of a run
            return None

    return joules


def joules_between(before: float | None, now: float | None) -> float | None:
    """Returns what was taken between two readings; None where one is missing, or the counter has begun anew between them."""
    return None if before is None or now is None or now < before else now - before
