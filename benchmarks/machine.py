"""What a benchmark was measured on."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


def describe_machine(*packages: str) -> dict[str, Any]:
    """Returns the CPU, the GPU if there is one, and versions: plain values."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "cpu": next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), ""),
        "cpus": len(os.sched_getaffinity(0)),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in ("torch", "nvidia-dali-cuda120", "av", *packages)},
    }
