"""What this machine can do for training: versions, processors, memory, decoders, encoders. Plain values; what fails is said."""

import os
import platform
import re
import resource
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import c2d_fast
from c2d_fast.versions import DALI_PACKAGES, OPENCV_PACKAGES, dali_problem, installed_dali, version_of

_PACKAGES = {
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "DALI": DALI_PACKAGES,
    "numpy": ("numpy",),
    "PyAV": ("av",),
    "OpenCV": OPENCV_PACKAGES,
    "tensorboard": ("tensorboard",),
    "matplotlib": ("matplotlib",),
    "msgspec": ("msgspec",),
    "safetensors": ("safetensors",),
    "onnx": ("onnx",),
    "onnxscript": ("onnxscript",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "grad-cam": ("grad-cam",),
    "nvidia-ml-py": ("nvidia-ml-py",),
}
_ENVIRONMENT = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "OMP_NUM_THREADS")
# FFmpeg's own AV1 decoder is there always, and decodes nothing without a GPU's help.
_FFMPEG_DECODERS = {"h264": "h264", "hevc": "hevc", "av1": "libdav1d", "vp9": "vp9", "mpeg4": "mpeg4"}
_ENCODERS = ("libx264", "libx265")  # what `prepare transcode` writes with


def machine_facts() -> dict[str, Any]:
    """Returns what is known of this machine; None is what is not there, and what could not be asked is under problems.

    Notes are on what works, and could be better.
    """
    problems: list[str] = []
    facts: dict[str, Any] = {"versions": _versions(), "system": platform.platform()}
    facts["environment"] = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    probes: dict[str, Callable[[], Any]] = {
        "ffmpeg": _ffmpeg,
        "cpu": _cpu,
        "memory": _memory,
        "shm": _shm,
        "open_files": _open_files,
        "cuda": _cuda,
        "driver": _driver,
        "decoding": _decoding,
        "encoders": _encoders,
    }
    for name, probe in probes.items():
        # A bug report is wanted most from where something does not even import; what a package warns of belongs in it.
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                facts[name] = probe()
            except Exception as error:
                facts[name] = None
                problems.append(f"{name}: {type(error).__name__}: {error}")
        problems += [f"{name}: {one.message}" for one in warned if not issubclass(one.category, DeprecationWarning)]
    built_with = facts["cuda"] and facts["cuda"]["built_with"]
    facts["notes"] = [note for note in [dali_problem(built_with)] if note]
    facts["problems"] = [" ".join(problem.split()) for problem in problems]
    return facts


def _versions() -> dict[str, str | None]:
    """Returns versions as installed: a package that does not import is still named."""
    found = {name: next(filter(None, map(version_of, packages)), None) for name, packages in _PACKAGES.items()}
    if packages := installed_dali():
        found["DALI"] = ", ".join(f"{version} ({name})" for name, version in packages.items())
    return {"c2d_fast": c2d_fast.__version__, "python": platform.python_version(), **found}


def _ffmpeg() -> dict[str, str]:
    """Returns the versions of the FFmpeg libraries that PyAV has."""
    import av

    whole = {"FFmpeg": str(av.ffmpeg_version_info)} if hasattr(av, "ffmpeg_version_info") else {}
    return whole | {name: ".".join(map(str, version)) for name, version in sorted(av.library_versions.items())}


def _cpu() -> dict[str, Any]:
    text = Path("/proc/cpuinfo").read_text()
    name = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.*)$", text, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    quota = _cgroup("cpu.max").split()
    return {
        "name": name[1] if name else platform.machine(),
        "usable": len(os.sched_getaffinity(0)),
        "quota": int(quota[0]) / int(quota[1]) if len(quota) == 2 and quota[0] != "max" else None,
        "bf16": sorted(known & {"avx512_bf16", "amx_bf16", "bf16"}),
    }


def _memory() -> dict[str, int | None]:
    """Returns bytes."""
    rows = dict(re.findall(r"^(\w+):\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE))
    limit = _cgroup("memory.max")
    return {
        "total": int(rows["MemTotal"]) * 1024,
        "available": int(rows["MemAvailable"]) * 1024,
        "container_limit": int(limit) if limit.isdigit() else None,
    }


def _cgroup(name: str) -> str:
    """Returns what a container's control group says; empty where there is none."""
    try:
        return Path("/sys/fs/cgroup", name).read_text().strip()
    except OSError:
        return ""


def _shm() -> dict[str, int]:
    """Returns bytes of /dev/shm, through which workers hand over clips."""
    state = os.statvfs("/dev/shm")
    return {"total": state.f_blocks * state.f_frsize, "free": state.f_bavail * state.f_frsize}


def _open_files() -> dict[str, int | None]:
    soft, hard = (None if limit == resource.RLIM_INFINITY else limit for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    return {"limit": soft, "hard_limit": hard}


def _cuda() -> dict[str, Any]:
    """Returns what torch was built for, and the GPUs that it can use."""
    import torch

    gpus = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        gpu = torch.cuda.get_device_properties(number)
        capability = (gpu.major, gpu.minor)
        gpus.append(
            {
                "name": gpu.name,
                "memory": gpu.total_memory,
                "compute_capability": "{}.{}".format(*capability),
                "bf16": capability >= (8, 0),
            }
        )
    return {"torch": torch.__version__, "built_with": torch.version.cuda, "gpus": gpus}


def _driver() -> str | None:
    """Returns the version of NVIDIA's driver, whether torch can use it or not."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except Exception:  # not installed, or no driver that answers
        path = Path("/proc/driver/nvidia/version")
        found = re.search(r"Kernel Module.*?(\d+\.\d+[\d.]*)", path.read_text()) if path.is_file() else None
        return found[1] if found else None


def _decoding() -> dict[str, Any]:
    """Returns the decoder that an ordinary H.264 file would get, why, and what each decoder takes."""
    import torch

    from c2d_fast.loading import decode

    decoder, reason = decode.choose_decoder("auto", _ordinary_video(), gpu=torch.cuda.is_available())
    return {
        "nvdec_library": decode.nvdec_library(),
        "h264": decoder,
        "reason": reason
        if decoder == "ffmpeg"
        else "a CUDA GPU, and the driver's video decoding library; runs measure whether ffmpeg is faster",
        "nvdec": {codec: "{}x{}".format(*smallest) for codec, smallest in decode.NVDEC_CODECS.items()},
        "dali": list(decode.DALI_CPU_CODECS),
        "ffmpeg": [codec for codec, name in _FFMPEG_DECODERS.items() if _has_codec(name, "r")],
    }


def _ordinary_video() -> Any:
    """Returns a manifest of one video as most are, to ask which decoder it gets."""
    import numpy as np

    from c2d_fast.lists.listing import Listing
    from c2d_fast.manifest.manifest import Manifest
    from c2d_fast.video.facts import DTYPE, reading_columns

    table = np.zeros(1, DTYPE)
    for name, value in (("codec", "h264"), ("pix_fmt", "yuv420p"), ("width", 340), ("height", 256), ("frames", 300)):
        table[name] = value
    table["in_order"] = True
    listing = Listing(Path("list"), Path(), ("video.mp4",), (0,), (1,), "")
    return Manifest(listing, np.zeros(1, np.int64), reading_columns(table), np.zeros(1, np.int64), np.zeros(1, np.int64), {})


def _encoders() -> dict[str, bool]:
    return {name: _has_codec(name, "w") for name in _ENCODERS}


def _has_codec(name: str, mode: Any) -> bool:
    import av

    try:
        return av.Codec(name, mode) is not None
    except av.codec.codec.UnknownCodecError:
        return False
