"""Manifests of videos that do not exist, as the benchmark of large lists makes them."""

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]


def made(path, count, **changes):
    """Writes a manifest with numpy alone; returns its arrays."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from made_up_list import made_up
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    arrays = made_up(count, path.parent) | changes
    np.savez_compressed(path, **arrays)
    return arrays
