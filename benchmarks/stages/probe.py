"""Stage probe: what the machine has, in seconds and without torch in this process."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from subprocesses import end_group

from stages.card import NVIDIA, smi
from stages.stage import Stage

MODULES = (
    ("numpy", "cv2"),
    ("torch", "torchvision"),
    ("nvidia.dali", "nvidia.dali.fn", "nvidia.dali.types"),
    ("av",),
    ("pytest", "xdist", "pytest_timeout", "tqdm", "psutil", "pynvml", "PIL", "safetensors"),
    ("matplotlib", "tensorboard"),
    ("onnx", "onnxruntime", "onnxscript"),
)
"""Each group is imported in a process of its own, side by side: an import may crash, or take long."""

_IMPORT = """
import importlib, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
        found[name] = str(getattr(module, "__version__", "imports"))
    except BaseException as error:
        found[name] = f"missing: {type(error).__name__}: {error}"
    print(json.dumps(found), flush=True)
"""
_TORCH = """
import json, torch
seen = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "sees": torch.cuda.is_available()}
if seen["sees"]:
    device = torch.cuda.get_device_properties(0)
    seen |= {"name": device.name, "count": torch.cuda.device_count(), "memory_gb": round(device.total_memory / 1e9, 1)}
    seen |= {"arch_list": torch.cuda.get_arch_list(), "bf16": torch.cuda.is_bf16_supported()}
    seen["sum_on_it"] = torch.ones(1000, device="cuda").sum().item()
print(json.dumps(seen))
"""
_NVCUVID = "import ctypes; ctypes.CDLL('libnvcuvid.so.1')"


def run(stage: Stage) -> None:
    """Looks, and writes what it sees as it sees it."""
    running = {names: _python(_IMPORT, *names) for names in MODULES}
    torch = _python(_TORCH)
    stage.result["nvidia_smi"] = smi()
    stage.result["nvdec_library"] = _nvdec_library()
    shm = shutil.disk_usage("/dev/shm")
    stage.result["host"] = {
        "dev_shm_mb": {"total": shm.total // 2**20, "free": shm.free // 2**20},
        "disk_free_gb": shutil.disk_usage(stage.asked.out).free // 2**30,
        "memory_gb": _memory_gb(),
        "programs": {name: shutil.which(name) for name in ("make", "ffmpeg", "git", "nvcc", "gcc", "setsid")},
        "kernel": os.uname().release,
    }
    stage.save()
    stage.result["imports"] = {}
    for names, process in running.items():
        heard = _heard(stage, f"imports of {', '.join(names)}", process)
        problem = f"missing: {heard.pop('failed', 'no answer')}"
        stage.result["imports"] |= {name: heard.get(name, problem) for name in names}
        stage.save()
    stage.result["torch"] = _heard(stage, "torch", torch)
    for name, what in stage.result["imports"].items():
        stage.say(f"{name}: {what}")
    stage.say(f"libnvcuvid: {stage.result['nvdec_library']}; torch: {stage.result['torch']}")


def _python(code: str, *args: str, env: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, *args]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | (env or {}), process_group=0
    )


def _heard(stage: Stage, what: str, process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Returns the last JSON line of a process, which is ended with the stage's time; "failed" says how, if not well."""
    try:
        out, said = process.communicate(timeout=max(stage.left_s, 0.1))
    except subprocess.TimeoutExpired:
        end_group(process)
        out, said = process.communicate()
        stage.leave_out(what)
    lines = [line for line in out.splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    if process.returncode:
        found["failed"] = " | ".join([f"exit code {process.returncode}", *said.splitlines()[-4:]])
    return found


def _nvdec_library() -> dict[str, str]:
    """Says whether the driver's video decoding library loads, as things are and with NVIDIA's folder in front."""
    try:
        ctypes.CDLL("libnvcuvid.so.1")
        found = {"as it is": "loads"}
    except OSError as error:
        found = {"as it is": f"failed: {error}"}
    path = f"{NVIDIA}/lib64:{os.environ.get('LD_LIBRARY_PATH', '')}"
    other = _python(_NVCUVID, env={"LD_LIBRARY_PATH": path})
    said = other.communicate(timeout=20)[1].strip().splitlines()
    found[f"with {NVIDIA}/lib64"] = f"failed: {said[-1]}" if other.returncode and said else "loads"
    return found


def _memory_gb() -> int:
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return int(line.split()[1]) // 2**20
