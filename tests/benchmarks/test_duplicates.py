"""The benchmark of prepare check, and what its page shows of it."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_what_is_found_is_measured(tmp_path):
    pytest.importorskip("imagehash")
    few = ["--count", 16, "--videos", 500, "--packets", 20, "--clips", tmp_path, "--out", tmp_path / "r.json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "benchmarks/duplicates.py", *map(str, few)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=env, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["exact"]["found"], result["exact"]["false_pairs"]) == (16, 0)
    found = [row["found"] for row in result["thresholds"]]
    assert found == sorted(found)
    assert result["real"] == 0


def test_the_page_shows_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    duplicates = importlib.import_module("duplicates")
    text, measured = (ROOT / "docs/duplicates.md").read_text(), json.loads(duplicates.RESULT.read_text())
    for mark, table in duplicates.TABLES.items():
        assert f"<!-- {mark}: begin -->\n{table(measured)}\n<!-- {mark}: end -->" in text
    default = next(row for row in measured["thresholds"] if row["bits"] == duplicates.DEFAULT)
    assert measured["pairs"] >= 200
    assert default["found"] >= 0.95 * measured["pairs"]
    assert default["false_pairs"] <= 0.01 * measured["different_pairs"]
    assert default["false_videos"] <= 0.01 * 2 * measured["pairs"]
    assert measured["exact"]["found"] == measured["exact"]["planted"]
    assert measured["exact"]["false_pairs"] == 0
    assert sum(row["of"] for row in measured["copies"]) == measured["pairs"]
