"""The JSON that a benchmark leaves: written whole, again and again, so that a later failure costs nothing that was measured."""

import json
from pathlib import Path
from typing import Any

from c2d_fast.files import atomic_write

THROUGHPUT = "c2d_fast.benchmark.throughput/1"
"""Format of what report.py draws."""


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Writes a result in the place of what was written before, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(result, indent=2) + "\n")
