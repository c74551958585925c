"""The benchmark of a manifest of ten million videos, and what its page shows of it."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_small_list_is_measured(tmp_path):
    words = [sys.executable, "benchmarks/large_list.py", "--rows", "5000", "--folder", tmp_path, "--out", tmp_path / "r.json"]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, cwd=ROOT, env=env, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r.json").read_text())
    large_list = imported()
    assert list(result["steps"]) == list(large_list.STEPS)
    assert all(step["seconds"] > 0 < step["peak_mb"] for step in result["steps"].values())
    assert large_list.table(result).startswith("| 5,000 videos | seconds | peak memory, GB |")


def test_the_page_shows_what_was_measured():
    large_list = imported()
    measured = json.loads(large_list.RESULT.read_text())
    table = large_list.table(measured)
    assert f"<!-- large-list: begin -->\n{table}\n<!-- large-list: end -->" in (ROOT / "docs/lists.md").read_text()
    assert measured["rows"] == 10_000_000
    for step in ("start", "start_with_table", "resume", "epoch_change"):
        assert measured["steps"][step]["seconds"] < 30, step
        assert measured["steps"][step]["peak_mb"] < 2000, step


def imported():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module("large_list")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
