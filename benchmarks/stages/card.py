"""The GPU, asked of the driver: no torch is needed, and no context is made."""

import ctypes
import dataclasses
import os
import shutil
import subprocess
from typing import Any

NVIDIA = "/usr/local/nvidia"
"""Where containers often get the driver's programs and libraries."""


@dataclasses.dataclass(frozen=True)
class Card:
    """The first GPU that this process may use."""

    gpu: str
    driver: str | None
    memory_mb: int

    def facts(self) -> dict[str, Any]:
        """Returns plain values."""
        return dataclasses.asdict(self)


def find_card() -> Card | None:
    """Returns the GPU; None where the driver shows none."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count, device, size, name = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(256)
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None
    cuda.cuDeviceGet(ctypes.byref(device), 0)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    driver = smi("--query-gpu=driver_version", "--format=csv,noheader").splitlines()
    return Card(name.value.decode(), driver[0].strip() if driver else None, size.value // 2**20)


def smi(*flags: str) -> str:
    """Returns what nvidia-smi says; nothing where there is none, or it fails."""
    program = shutil.which("nvidia-smi", path=f"{os.environ.get('PATH', '')}:{NVIDIA}/bin")
    if not program:
        return ""
    try:
        done = subprocess.run([program, *flags], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
