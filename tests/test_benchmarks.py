"""The benchmarks run, on small things: what they write is whole, and their figures are measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command, **env):
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **env}
    command = [sys.executable, *map(str, command)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=900, check=False)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A sweep, two loaders' forms and one recipe, all small; one peer's library cannot be imported."""
    folder = tmp_path_factory.mktemp("benchmark")
    stub = folder / "stubs" / "decord.py"
    stub.parent.mkdir()
    stub.write_text("raise OSError('libsomething.so: no such file')\n")
    flags = ["--pipe", "dali_pipes/demo.py", "--count", 2, "--frames", 60, "--size", "160x128", "--batch-size", 2]
    flags += ["--steps", 2, "--rounds", 1, "--before", "--data", folder / "data", "--out", folder / "throughput-test.json"]
    done = run("benchmarks/throughput.py", *flags, "--sweep", "workers=1,2", "read=files,clips", PYTHONPATH=str(stub.parent))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, json.loads((folder / "throughput-test.json").read_text()), done.stdout


def test_throughput_measures_loader_model_and_both(measured):
    _, result, out = measured
    (row,) = result["pipes"]
    for name in ("loader", "model", "both"):
        assert row[name]["low"] <= row[name]["clips_per_s"] <= row[name]["high"]
    slower = min(row["loader"]["clips_per_s"], row["model"]["clips_per_s"])
    assert row["both_to_slower"] == pytest.approx(row["both"]["clips_per_s"] / slower, abs=0.001)
    assert row["bound_by"] in ("IO", "decode", "augment", "transfer", "model")
    assert result["machine"]["gpu"] is None
    assert result["settings"]["batch_size"] == 2
    stored, intra = (result["forms"][name] for name in ("stored", "intra"))
    assert (stored["codec"], stored["size"], stored["frames"], stored["packet_table"]) == (["h264"], ["160x128"], 60, True)
    assert intra["frames_between_entries"] == 1
    assert stored["frames_between_entries"] > 10
    assert set(result["stages_ms_per_clip"]["stored"]) == {"read", "decode", "augment"}
    assert "bound by" in out


def test_peers_are_measured_or_named_as_missing(measured):
    _, result, out = measured
    rows = {(row["name"].split(" ")[0], row["form"]): row for row in result["loaders"] if not row["ours"]}
    assert rows["PyAV", "stored"]["clips_per_s"] > 0
    assert rows["PyAV", "intra"]["clips_per_s"] > 0
    assert rows["decord", "stored"]["missing"] == "libsomething.so: no such file"
    assert "missing: libsomething.so" in out
    assert {row["name"] for row in result["loaders"] if row["ours"]} == {
        "c2d-fast",
        "c2d-fast without a packet table",
        "c2d-fast, files read whole",
        "c2d-fast, crops by DALI on the CPU",
        "c2d-fast, whole files and crops by DALI",
    }


def test_a_sweep_has_every_combination(measured):
    _, result, _ = measured
    assert [(row["workers"], row["read"]) for row in result["sweep"]] == [(w, r) for w in (1, 2) for r in ("files", "clips")]
    assert all(row["clips_per_s"] > 0 for row in result["sweep"])


def test_report_draws_and_writes_only_between_its_marks(measured, monkeypatch):
    folder, result, _ = measured
    done = run("benchmarks/report.py", folder / "throughput-test.json", "--plots", folder / "plots", "--no-readme")
    assert done.returncode == 0, done.stderr
    drawn = {path.name for path in (folder / "plots").iterdir()}
    assert drawn == {"test-stages.png", "test-workers.png"}  # the demo has no published accuracy
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import report

    text = "before\n<!-- throughput-test: begin -->\nold\n<!-- throughput-test: end -->\nafter\n"
    table = report.readme_table(result)
    assert report.with_table(text, "test", table).startswith("before\n<!-- throughput-test: begin -->\n| loader, clips/s |")
    assert report.with_table(text, "test", table).endswith("\n<!-- throughput-test: end -->\nafter\n")
    assert report.with_table(text, "other", table) == text
    other = run("benchmarks/report.py", ROOT / "benchmarks/results/scan-cpu.json", "--no-readme")
    assert other.returncode == 1
    assert "measure again" in other.stderr


def test_a_budget_leaves_out_and_names_what_does_not_fit(tmp_path, measured):
    folder, _, _ = measured
    flags = ["--pipe", "dali_pipes/demo.py", "--count", 2, "--frames", 60, "--size", "160x128", "--no-peers"]
    flags += ["--data", folder / "data", "--out", tmp_path / "t.json", "--budget", "0.001"]
    done = run("benchmarks/throughput.py", *flags)
    assert done.returncode == 0, done.stderr
    assert "left out for lack of time: c2d-fast on stored, round 1" in done.stdout
    assert json.loads((tmp_path / "t.json").read_text())["pipes"][0]["published_top1"] is None


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "decoder"), [("h264", "ffmpeg"), ("vp9", "dali")])
def test_the_loader_s_memory_and_open_files_stay(tmp_path, codec, decoder):
    flags = ["--codec", codec, "--decoder", decoder, "--data", tmp_path, "--out", tmp_path / "memory.json"]
    done = run("benchmarks/memory.py", *flags)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "memory.json").read_text())
    assert result["clips"] == 20_000
    assert result["slope_kb_per_1000_clips"] < 150
    assert max(result["open_files"]) - min(result["open_files"]) <= 4
