"""The benchmark of long videos, and what its page shows of it."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_planted_events_are_found(tmp_path):
    few = ["--minutes", 4, "--events", 3, "--out", tmp_path / "r.json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "benchmarks/long_video.py", *map(str, few)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=env, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r.json").read_text())
    rows = {row["what"]: row for row in result["rows"]}
    assert rows["groups of 50 frames"]["found_within_1_s"] == 3
    assert rows["key frames alone (all-intra)"]["found_within_1_s"] == 3
    assert all(row["segments"] >= 3 for row in rows.values())


def test_the_page_shows_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    long_video = importlib.import_module("long_video")
    text, measured = (ROOT / "docs/long-videos.md").read_text(), json.loads(long_video.RESULT.read_text())
    for mark, table in long_video.TABLES.items():
        assert f"<!-- {mark}: begin -->\n{table(measured)}\n<!-- {mark}: end -->" in text
    assert (measured["minutes"], measured["events"]) == (180, 40)
    rows = {row["what"]: row for row in measured["rows"]}
    assert rows["groups of 50 frames"]["found_within_1_s"] >= 0.95 * 40
    assert rows["key frames alone (all-intra)"]["found_within_1_s"] >= 0.95 * 40
    for row in measured["rows"]:
        assert row["mb_at_the_end"] < 1.05 * row["mb_after_a_third"] + 20
        assert row["times_real_time"] >= 5
