"""The benchmark of reading from a server, and what its page shows of it."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_server_is_measured(tmp_path, http_server):
    http_server(tmp_path)  # or a skip, where there is none
    videos = ["--form", "stored", "intra", "--size", "96x64", "--frames", 80, "--count", 4, "--data", tmp_path / "data"]
    much = ["--batch-size", 4, "--steps", 1, "--warmup", 1, "--rounds", 2, "--workers", 1, "--gap-clips", 8, "--delay-ms", 5]
    words = [sys.executable, "benchmarks/remote.py", *videos, *much, "--out", tmp_path / "r.json"]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, cwd=ROOT, env=env, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r.json").read_text())
    places = ["local", "server", "5 ms late"]
    assert [(row["form"], row["place"]) for row in result["rows"]] == [(f, p) for f in ("stored", "intra") for p in places]
    assert all((row["requests_per_clip"] > 0) == (row["place"] != "local") for row in result["rows"])
    requests = [row["requests_per_clip"] for row in result["gaps"]]
    assert requests == sorted(requests, reverse=True)


def test_the_page_shows_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    remote = importlib.import_module("remote")
    text, measured = (ROOT / "docs/remote.md").read_text(), json.loads(remote.RESULT.read_text())
    for mark, table in {"remote": remote.table, "remote-gaps": remote.gaps_table, "remote-costs": remote.costs_table}.items():
        assert f"<!-- {mark}: begin -->\n{table(measured)}\n<!-- {mark}: end -->" in text
    rows = {(row["form"], row["place"]): row for row in measured["rows"]}
    late = rows["intra", "50 ms late"]
    assert len(late["rounds"]) >= 5
    assert min(rows["intra", "server"]["of_local"], late["of_local"]) >= 0.8
    assert late["whole_file_bytes"] > 5 * late["bytes_per_clip"]
    gaps = {row["bridged_kib"]: row["cpu_ms_per_clip"] for row in measured["gaps"]}
    assert gaps[64] < gaps[16], "a further request takes more than a gap"
