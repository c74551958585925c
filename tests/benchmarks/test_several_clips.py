"""The benchmarks of several clips of a decode, and of one checkout against another."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VIDEOS = ["--form", "stored", "--size", "96x64", "--frames", 24, "--count", 4]


def run(*words):
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=env, timeout=200, check=False)


@pytest.mark.slow
def test_several_clips_are_measured(tmp_path, monkeypatch):
    out = tmp_path / "several.json"
    flags = ["--pipe", "tests/tiny_pipe.py", *VIDEOS, "--batch-size", 4, "--steps", 1, "--rounds", 1, "--workers", 1]
    done = run("benchmarks/several_clips.py", *flags, "--data", tmp_path / "data", "--out", out)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [(row["clips_per_decode"], row["decoder"]) for row in rows] == [(1, "ffmpeg"), (2, "ffmpeg"), (4, "ffmpeg")]
    assert all(row["videos_per_s"] == pytest.approx(row["clips_per_s"] / row["clips_per_decode"], rel=0.01) for row in rows)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from several_clips import table

    assert table(json.loads(out.read_text())).startswith("| clips of a decode | as downloaded (GOP 250) |\n|---|---|\n| 1 | ")


@pytest.mark.slow
def test_a_checkout_is_compared_with_another(tmp_path):
    done = run(
        "benchmarks/several_clips.py", *VIDEOS, "--steps", 1, "--rounds", 1, "--data", tmp_path, "--out", tmp_path / "s.json"
    )
    assert done.returncode == 0, done.stderr
    (manifest,) = (path for path in tmp_path.glob("* forms/*.npz") if ".packets" not in path.name)
    flags = [ROOT, "--manifest", manifest, "--rounds", 2, "--steps", 1, "--out", tmp_path / "a.json"]
    done = run("benchmarks/against.py", *flags)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["commits"]["this"] == result["commits"]["other"] != ""
    assert 0 < result["ratio"]["low"] <= result["ratio"]["median"] <= result["ratio"]["high"]
