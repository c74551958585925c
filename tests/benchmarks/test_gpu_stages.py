"""The stages of the first minutes on a GPU, rehearsed on small things: what they leave is whole, whatever fails."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MISSING = ("av", "cv2", "tqdm", "psutil", "decord")


@pytest.fixture
def stages(monkeypatch):
    """The folder of the stages can be imported from, here and in child processes."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def bare_path(tmp_path_factory):
    """A path on which DALI, PyAV, OpenCV and so on cannot be imported."""
    folder = tmp_path_factory.mktemp("missing")
    (folder / "nvidia").mkdir()
    (folder / "nvidia" / "__init__.py").touch()
    for name in MISSING:
        (folder / f"{name}.py").write_text(f"raise ImportError('no module named {name} here')\n")
    return str(folder)


def run(*flags, first_on_path="", timeout=120):
    path = os.pathsep.join(filter(None, [first_on_path, str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    command = [sys.executable, "-u", "benchmarks/gpu_stages.py", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=timeout, check=False)


def read(folder, stage):
    return json.loads((folder / f"gpu-{stage}.json").read_text())


def make_stage(folder, budget_s, name="toy"):
    from stages.stage import Asked, Stage

    return Stage(name, "toy/1", Asked(out=folder, data=folder, budget_s=budget_s, rehearse=True), None)


def test_without_a_gpu_a_stage_says_so(tmp_path):
    done = run("models", "--out", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: there is no GPU; give --rehearse to try the stages without one\n"


def test_the_stages_themselves_import_nothing_that_may_be_missing(bare_path):
    code = "import gpu_stages, sys; print({'torch', 'nvidia', 'numpy'} & set(sys.modules))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([bare_path, str(ROOT / "benchmarks"), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


@pytest.mark.slow
def test_the_probe_needs_nothing_that_it_looks_for(tmp_path, bare_path):
    done = run("probe", "--rehearse", "--out", tmp_path, first_on_path=bare_path)
    assert done.returncode == 0, done.stderr
    result = read(tmp_path, "probe")
    assert result["imports"]["torch"].startswith("2.")
    assert result["imports"]["cv2"] == "missing: ImportError: no module named cv2 here"
    assert result["imports"]["nvidia.dali"].startswith("missing: ModuleNotFoundError")
    assert result["torch"]["sees"] is False
    assert set(result["nvdec_library"]) == {"as it is", "with /usr/local/nvidia/lib64"}
    assert result["host"]["dev_shm_mb"]["total"] > 0
    assert set(result["host"]["programs"]) >= {"make", "setsid"}
    assert (result["machine"]["gpu"], result["left_out"], result["seconds"] > 0) == (None, [], True)


def test_a_budget_leaves_out_and_names(tmp_path, bare_path):
    done = run("models", "--rehearse", "--budget", 1, "--out", tmp_path, first_on_path=bare_path)
    assert done.returncode == 0, done.stderr
    result = read(tmp_path, "models")
    named = [what.split(" (")[0] for what in result["left_out"]]
    ways = ["demo.py", "small_64px.py", "compiled, batch 4", "compiled, batch 8", "channels last, eager"]
    assert sorted(named) == sorted([*ways, "channels first, eager"])
    assert (result["pipes"], result["models"]) == ([], [])
    assert result["seconds"] < 20


@pytest.mark.slow
def test_a_model_is_timed_without_dali_and_pyav(bare_path):
    """In one process, as a child of the stage does it."""
    code = (
        "import json, sys; from stages import model_jobs, ways\n"
        "way = next(way for way in ways.all_ways(rehearse=True) if way.channels_first)\n"
        "print(json.dumps([model_jobs.prepare(way), model_jobs.measure(way.batch_size, 0.05)]))\n"
        "assert not {'av', 'cv2', 'tqdm', 'psutil', 'nvidia.dali', 'c2d_fast.loading.decode'} & set(sys.modules)\n"
    )
    path = os.pathsep.join([bare_path, str(ROOT / "benchmarks"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    prepared, figures = json.loads(done.stdout)
    assert prepared == {"precision": "fp32"}
    assert figures["low"] <= figures["clips_per_s"] <= figures["high"]
    assert len(figures["rounds"]) == 3


@pytest.mark.slow
def test_models_are_compiled_and_timed_without_dali_and_pyav(tmp_path, bare_path):
    done = run("models", "--rehearse", "--budget", 800, "--out", tmp_path, first_on_path=bare_path, timeout=850)
    assert done.returncode == 0, done.stderr
    result = read(tmp_path, "models")
    assert result["left_out"] == []
    assert [row["pipe"] for row in result["pipes"]] == ["demo.py", "small_64px.py"]
    assert all(row["model"]["clips_per_s"] > 0 and row["model"]["first_step_s"] > 0 for row in result["pipes"])
    assert {row["name"] for row in result["models"]} >= {"channels last, eager", "compiled, batch 8"}
    eager = next(row for row in result["models"] if row["name"] == "channels last, eager")
    assert set(eager["paused_meanwhile"]) <= {"demo.py", "small_64px.py"}


@pytest.mark.slow
def test_loaders_are_swept_and_the_best_is_named(tmp_path):
    flags = ("loaders", "--rehearse", "--out", tmp_path, "--data", tmp_path / "videos")
    done = run(*flags, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    result = read(tmp_path, "loaders")
    rows = result["sweep"]
    assert [row["decoder"] for row in rows] == ["dali", "ffmpeg", "dali", "hybrid", "dali"]
    assert all(row["clips_per_s"] > 0 for row in rows)
    dali, ffmpeg, stored, hybrid, kept = rows
    assert hybrid["hybrid_share"] == pytest.approx(
        dali["clips_per_s"] / (dali["clips_per_s"] + ffmpeg["clips_per_s"]), abs=1e-3
    )
    assert (stored["form"], kept["cropping"]) == ("stored", "kept")
    assert result["forms"]["intra"]["frames_between_entries"] == 1
    fastest = max((row for row in rows if row["form"] == "intra"), key=lambda row: row["clips_per_s"])
    assert {name: fastest[name] for name in result["best"]["intra"]} == result["best"]["intra"]
    words = ["benchmarks/report.py", str(tmp_path / "gpu-loaders.json"), "--plots", str(tmp_path), "--no-readme"]
    assert subprocess.run([sys.executable, *words], cwd=ROOT, timeout=120, check=False).returncode == 0


@pytest.mark.slow
def test_loader_and_model_together(tmp_path):
    done = run("both", "--rehearse", "--budget", 600, "--out", tmp_path, "--data", tmp_path / "videos", timeout=650)
    assert done.returncode == 0, done.stdout + done.stderr
    result = read(tmp_path, "both")
    (row,) = result["pipes"]
    slower = min(row["loader"]["clips_per_s"], row["model"]["clips_per_s"])
    assert row["both_to_slower"] == pytest.approx(row["both"]["clips_per_s"] / slower, abs=0.001)
    assert result["settings"]["from"] == "no loaders have been measured"
    assert row["bound_by"] == "model"


def test_the_best_loader_is_what_is_trained_with(tmp_path, stages):
    from stages.settings import BATCH, best, for_training, needs_nvdec, nvdec_fails, swept

    rows = swept(rehearse=False)
    assert len({json.dumps(row, sort_keys=True) for row in rows}) == len(rows)
    assert {row["workers"] for row in rows} <= {8, 16, len(os.sched_getaffinity(0))}
    assert (rows[0]["decoder"], rows[0]["form"], rows[1]["decoder"]) == ("nvdec", "intra", "ffmpeg")
    assert {row["decoder"] for row in rows if not needs_nvdec(row)} == {"ffmpeg"}
    measured = [row | {"clips_per_s": 10.0 + row["batch-size"], "hybrid_share": 0.7} for row in rows] + [{"missing": "x"}]
    (tmp_path / "gpu-loaders.json").write_text(json.dumps({"best": best(measured)}))
    chosen, source = for_training(tmp_path, BATCH, rehearse=False)
    found = [chosen[name] for name in ("batch-size", "decode-batch", "hybrid_share")]
    assert (found, source) == ([32, 64, 0.7], str(tmp_path / "gpu-loaders.json"))
    assert nvdec_fails(tmp_path) == ""
    (tmp_path / "gpu-decode.json").write_text(json.dumps({"nvdec": "failed: no frames"}))
    assert nvdec_fails(tmp_path) == "failed: no frames"


def test_what_was_measured_is_there_after_a_failure(tmp_path, stages):
    stage, children = make_stage(tmp_path, 60), []

    def work():
        stage.result["figure"] = 7
        stage.save()
        assert read(tmp_path, "toy")["figure"] == 7
        children.append(stage.child("sleeper"))
        children[0].call("time.sleep", 600)
        raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError), stage.open():
        work()
    result = read(tmp_path, "toy")
    assert (result["figure"], result["failed"]) == (7, "ZeroDivisionError: division by zero")
    assert not children[0]._process.is_alive()
    assert [path.name for path in tmp_path.iterdir()] == ["gpu-toy.json"]


def test_a_child_may_raise_crash_and_hang(stages):
    from stages.child import Child, LostError

    child = Child("one")
    assert child.ask("os.path.join", "a", "b", limit_s=60) == "a/b"
    with pytest.raises(LostError, match="ZeroDivisionError") as raised:
        child.ask("operator.truediv", 1, 0, limit_s=60)
    assert not raised.value.is_gone
    assert child.ask("os.nice", 0, limit_s=60) == 0
    child.call("os.system", "echo a last word >&2; exec sleep 600")
    time.sleep(0.5)
    with pytest.raises(LostError, match=r"no answer within 0 s; it printed last: a last word .* in _serve") as hung:
        child.answer(0)
    assert hung.value.is_gone
    other = Child("two", {"A_NAME": "a value"}, nice=3)
    assert other.ask("os.getenv", "A_NAME", limit_s=60) == "a value"
    assert other.ask("os.nice", 0, limit_s=60) == os.nice(0) + 3
    with pytest.raises(LostError, match="SIGABRT"):
        other.ask("os.abort", limit_s=60)


def test_a_paused_child_stands_still_with_its_own_children(stages):
    from stages.child import Child

    child = Child("one")
    pid = child.ask("os.getpid", limit_s=60)
    child.call("time.sleep", 0.3)
    with child.paused():
        time.sleep(0.2)
        assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        time.sleep(0.5)
        assert not child.waits_for.poll()
    assert child.answer(60) is None
    assert child.paused_s >= 0.7
    child.end()


def test_children_end_with_a_stage_that_is_killed(tmp_path):
    code = (
        "import sys; sys.path.insert(0, 'benchmarks')\n"
        "from stages.child import Child\n"
        "if __name__ == '__main__':\n"
        "    child = Child('one')\n"
        "    print(child.ask('os.getpid', limit_s=60), flush=True)\n"
        "    child.ask('time.sleep', 600, limit_s=600)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait(60)
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_what_became_of_each_test_is_known_also_of_a_run_that_hangs(tmp_path, stages):
    from stages.run_tests import run_tests

    (tmp_path / "test_toy.py").write_text(
        "import pytest, time\n"
        "def test_passes(): pass\n"
        "def test_fails(): assert 1 == 2, 'one is not two'\n"
        "def test_skips(): pytest.skip('for a reason')\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError('no such thing')\n"
        "def test_in_setup(broken): pass\n"
        "def test_hangs(): time.sleep(600)\n"
        "def test_never_begun(): pass\n"
    )
    stage = make_stage(tmp_path, 12)
    with stage.open():
        run_tests(stage, str(tmp_path / "test_toy.py"), processes=1)
    result = read(tmp_path, "toy")
    tests = {name.rpartition("::")[2]: test for name, test in result["tests"].items()}
    assert {name: test["outcome"] for name, test in tests.items()} == {
        "test_passes": "passed",
        "test_fails": "failed",
        "test_skips": "skipped",
        "test_in_setup": "failed",
        "test_hangs": "begun",
        "test_never_begun": "not begun",
    }
    assert tests["test_fails"]["message"].startswith("AssertionError: one is not two")
    assert tests["test_skips"]["message"] == "Skipped: for a reason"
    assert tests["test_in_setup"]["message"] == "OSError: no such thing"
    left_out = [what.rpartition("::")[2] for what in result["left_out"]]
    assert left_out == ["test_hangs (begun)", "test_never_begun (not begun)"]
    assert result["outcomes"] == {"passed": 1, "failed": 2, "skipped": 1, "begun": 1, "not begun": 1}
    assert result["seconds"] < 15


def test_the_verdict_on_nvdec(stages):
    from stages.decode import _verdict

    good = {"size": "336x256", "threads": 1, "mean_difference": 2.0}
    assert _verdict([good, good]) == "works"
    assert _verdict([good, good | {"missing": "SIGSEGV"}]) == "failed: 336x256, 1 threads: SIGSEGV"
    assert _verdict([good | {"mean_difference": 90.0}]).startswith("failed: 336x256: frames differ")


def test_recipes_are_read_without_dali(stages):
    from recipes import load_recipe

    from c2d_fast.recipe import load_pipe

    for path in sorted((ROOT / "dali_pipes").glob("[!_]*.py")):
        assert load_recipe(path) == load_pipe(path).recipe
