"""The benchmark of exported models: what the docs show is what was measured, and it measures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_page_shows_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import exported
    from report import between_marks

    text, measured = (ROOT / "docs/benchmarks.md").read_text(), json.loads(exported.RESULT.read_text())
    assert between_marks(text, "exported", exported.table(measured)) == text
    assert exported.table(measured) in text
    assert [row["name"] for row in measured["rows"]] == list(exported.NAMES)
    assert all(len(row["ratios"]) == measured["rounds"] for row in measured["rows"])


def test_deploy_shows_what_files_of_a_trained_model_are_worth(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import exported_accuracy
    from report import between_marks

    text, measured = (ROOT / "docs/deploy.md").read_text(), json.loads(exported_accuracy.RESULT.read_text())
    assert between_marks(text, "exported-accuracy", exported_accuracy.table(measured)) == text
    assert exported_accuracy.table(measured) in text
    assert [row["name"] for row in measured["rows"]] == list(exported_accuracy.FORMS)
    assert measured["top1"] > 3 * 100 / measured["classes"]  # well above chance: fewer bits have something to lose


@pytest.mark.slow
def test_it_measures(tmp_path):
    pytest.importorskip("onnxruntime")
    out = tmp_path / "exported.json"
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    words = [
        sys.executable,
        "benchmarks/exported.py",
        "--pipe",
        "tests/tiny_pipe.py",
        "--rounds",
        "2",
        "--no-compile",
        "--out",
        out,
    ]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, cwd=ROOT, env=env, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    differences = {row["name"]: row["difference"] for row in result["rows"]}
    assert list(differences) == ["eager", "pt2", "onnx fp32", "onnx fp16", "onnx int8"]
    assert differences["pt2"] < 1e-4 < differences["onnx fp16"] < differences["onnx int8"] < result["largest"]


@pytest.mark.slow
def test_accuracy_is_measured(tmp_path):
    pytest.importorskip("onnxruntime")
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    few = ["--epochs", 1, "--train-per-class", 2, "--val-per-class", 1, "--calibration-videos", 4]
    places = ["--data", tmp_path / "data", "--run", tmp_path / "run", "--out", tmp_path / "out.json"]
    words = [sys.executable, "benchmarks/exported_accuracy.py", *few, *places]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, cwd=ROOT, env=env, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "out.json").read_text())["rows"]}
    assert rows["pt2"]["same"] == rows["onnx fp32"]["same"] == 8
    assert rows["onnx int8"]["megabytes"] < rows["onnx fp16"]["megabytes"] < rows["onnx fp32"]["megabytes"]
