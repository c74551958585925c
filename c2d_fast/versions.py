"""Which packages are installed, in which version, and which of them import."""

import importlib
from collections.abc import Iterable
from importlib import metadata

DALI_PACKAGES = ("nvidia-dali-cuda120", "nvidia-dali-cuda130", "nvidia-dali-cuda110")
"""DALI for one major version of CUDA each. All of them install the same modules: one may be installed at a time."""

OPENCV_PACKAGES = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


def version_of(package: str) -> str | None:
    """Returns the version of a package, as installed; None where it is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def failed_imports(modules: Iterable[str]) -> str:
    """Imports modules; returns which of them do not, each as "name (why)", "" if all do."""
    failed = []
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            failed.append(f"{name} ({error!s:.100})")
    return ", ".join(failed)


def installed_dali() -> dict[str, str]:
    """Returns which of DALI's packages are installed: name -> version."""
    return {name: version for name in DALI_PACKAGES if (version := version_of(name))}


def dali_problem(torch_cuda: str | None) -> str:
    """Returns what is wrong with the DALI that is installed, "" if nothing is.

    Args:
        torch_cuda: version of CUDA that PyTorch was built with; None without CUDA.
    """
    found = installed_dali()
    if len(found) > 1:
        return (
            f"{' and '.join(found)} are both installed and have overwritten each other's files: pip uninstall -y "
            f"{' '.join(found)}, then install one"
        )
    for name in found:
        major, theirs = name.removeprefix("nvidia-dali-cuda").removesuffix("0"), (torch_cuda or "").partition(".")[0]
        if theirs and theirs != major:
            newer = max(int(major), int(theirs))
            return (
                f"{name} is for CUDA {major}, and PyTorch was built with {torch_cuda}: a driver for CUDA {newer} runs both; "
                f"for a pair of one version pip uninstall -y {name}, then pip install nvidia-dali-cuda{theirs}0"
            )
    return ""
