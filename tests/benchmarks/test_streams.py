"""The benchmark of streams, and what its page shows of it."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_streams_are_measured(tmp_path):
    few = ["--minutes", 0.4, "--late-minutes", 0.2, "--out", tmp_path / "r.json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "benchmarks/streams.py", *map(str, few)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=env, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    camera, pipe, slow = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert (camera["reconnects"], camera["exit_code"]) == (1, 143)
    assert (pipe["reconnects"], pipe["exit_code"], pipe["dropped_windows"]) == (0, 0, 0)
    assert pipe["windows"] in range(44, 49)
    assert slow["exit_code"] == 0


def test_the_page_shows_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    streams = importlib.import_module("streams")
    text, measured = (ROOT / "docs/streams.md").read_text(), json.loads(streams.RESULT.read_text())
    for mark, table in streams.TABLES.items():
        assert f"<!-- {mark}: begin -->\n{table(measured)}\n<!-- {mark}: end -->" in text
    camera, pipe, slow = measured["rows"]
    assert [row["minutes"] for row in measured["rows"]] == [10, 10, 2]
    assert (camera["reconnects"], camera["dropped_windows"], pipe["dropped_windows"]) == (1, 0, 0)
    assert slow["dropped_windows"] > 0
    for row, most_s in ((camera, 3), (pipe, 3), (slow, 6)):
        assert row["delay_max_s"] < most_s
    for row in (camera, pipe):
        assert len(row["by_minute"]) >= 10
        assert row["mb_at_the_end"] < 1.05 * row["mb_at_1_minute"] + 20
