"""Which kernels compute: the fastest, or with --deterministic those that give the same result twice."""

import os

import torch


def tune_kernels(device: torch.device) -> None:
    """Lets cuDNN time its kernels for each shape, of which a run has few; make_deterministic, called later, takes it back."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True


def make_deterministic(device: torch.device) -> str:
    """Turns on deterministic algorithms for this process; called before the device is used.

    The same seed, software and hardware then give the same weights. An operation that has no deterministic form is an
    error on a CPU; on a GPU PyTorch names it in a warning and the run goes on.

    Returns:
        One line for the user: what was set, and what is not covered.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # cuBLAS reads it when it starts
    os.environ["TORCHINDUCTOR_DETERMINISTIC"] = "1"  # the compiler chooses no kernels by timing; read when it is imported
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    same = "the same on this machine with these versions only"
    if device.type == "cpu":
        return f"deterministic: deterministic algorithms only; {same}, and for the same number of threads"
    return (
        "deterministic: deterministic algorithms where there are any, cuDNN deterministic and without benchmarking, "
        "CUBLAS_WORKSPACE_CONFIG=:4096:8, TORCHINDUCTOR_DETERMINISTIC=1, uninitialised memory filled; "
        f"{same}. Not covered: operations that PyTorch names in a warning, and NVDEC's and DALI's kernels, which promise "
        "nothing"
    )
