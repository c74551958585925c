"""The benchmarks run, on small things: what they write is whole, and their figures are measured."""

import json
import sys
from pathlib import Path

import fork_server
import pytest

ROOT = Path(__file__).parents[2]


def run(*command, first_on_path=()):
    """Runs a benchmark, with a folder in front of the others that modules are looked for in."""
    command = [sys.executable, *map(str, command)]
    return fork_server.run(command, fork_server.environment(), timeout=900, first_on_path=first_on_path)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A sweep, two loaders' forms and one recipe, all small; one peer's library cannot be imported."""
    folder = tmp_path_factory.mktemp("benchmark")
    stub = folder / "stubs" / "decord.py"
    stub.parent.mkdir()
    stub.write_text("raise OSError('libsomething.so: no such file')\n")
    flags = ["--pipe", "tests/tiny_pipe.py", "--count", 2, "--frames", 60, "--size", "160x128", "--batch-size", 2]
    flags += ["--workers", 1, "--model-batch-size", 2]  # normalisation needs more than one value
    flags += ["--peer", "decord", "pyav", "mappings", "cuda", "pynvvideocodec"]  # each is a process of its own
    flags += ["--steps", 1, "--rounds", 1, "--before", "--data", folder / "data", "--out", folder / "throughput-test.json"]
    done = run("benchmarks/throughput.py", *flags, "--sweep", "workers=1,2", "read=files,clips", first_on_path=[stub.parent])
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
    gpu = {row["name"]: row["missing"] for row in result["loaders"] if "GPU" in row["name"] or "Nv" in row["name"]}
    assert gpu == dict.fromkeys(("torchcodec on the GPU (threads)", "PyNvVideoCodec (threads)"), "there is no GPU")
    assert out.count("missing: there is no GPU") == 2


def test_rows_say_what_is_prepared_for_them_and_that_their_frames_are_those_asked_for(measured):
    _, result, out = measured
    assert {row["name"]: row["index"] for row in result["loaders"] if row["ours"]} == {
        "c2d-fast without a packet table": "manifest (facts)",
        "c2d-fast": "packet table",
        "c2d-fast, files read whole": "manifest (facts)",
        "c2d-fast, crops by DALI on the CPU": "packet table",
        "c2d-fast, whole files and crops by DALI": "manifest (facts)",
    }
    peers = [row for row in result["loaders"] if not row["ours"]]
    assert {row["name"]: row["index"] for row in peers if row["index"] != "none"} == {
        "torchcodec, frame mappings": "frame mappings"
    }
    there = [row for row in peers if "missing" not in row]
    assert {row["form"] for row in there} == {"stored", "intra"}
    assert all(row["clips_per_s"] > 0 and (row["frames_checked"], row["frames_differ"]) == (16, 0) for row in there)
    assert {"PyAV in a DataLoader"} <= {row["name"] for row in there}
    assert all(
        f" {row['index']} " in line for row in there for line in out.splitlines() if line.startswith(f"  {row['name']} ")
    )


def test_what_a_command_prints_is_read_and_its_time_is_limited(here):
    from subprocesses import run, run_python

    flood = "import sys; sys.stderr.write('x' * 2**21); sys.stdout.write('y' * 2**21)"
    assert len(run_python("-c", flood)) == 2**21
    with pytest.raises(SystemExit, match="no such thing"):
        run_python("-c", "import sys; sys.exit('no such thing')")
    # Its child would hold the pipes open.
    with pytest.raises(SystemExit, match="took longer than 1 s, and was ended"):
        run(["bash", "-c", "sleep 60 & sleep 60"], limit_s=1)


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
    table = report.loaders_table(result)
    assert report.with_table(text, "test", table).startswith("before\n<!-- throughput-test: begin -->\n| loader, clips/s |")
    assert report.with_table(text, "test", table).endswith("\n<!-- throughput-test: end -->\nafter\n")
    assert report.with_table(text, "other", table) == text
    marks = text + text.replace("throughput-test", "throughput-test-recipes")
    both = report.with_tables(marks, "test", result)
    assert both.index("| loader, clips/s |") < both.index("| recipe | published top-1 |")
    other = run("benchmarks/report.py", ROOT / "benchmarks/results/scan-cpu.json", "--no-readme")
    assert other.returncode == 1
    assert "measure again" in other.stderr


@pytest.mark.slow
def test_a_budget_leaves_out_and_names_what_does_not_fit(tmp_path, measured):
    folder, _, _ = measured
    flags = ["--pipe", "dali_pipes/demo.py", "--count", 2, "--frames", 60, "--size", "160x128", "--no-peers"]
    flags += ["--data", folder / "data", "--out", tmp_path / "t.json", "--budget", "0.001"]
    done = run("benchmarks/throughput.py", *flags)
    assert done.returncode == 0, done.stderr
    assert "left out for lack of time: c2d-fast without a packet table on stored, round 1" in done.stdout
    assert json.loads((tmp_path / "t.json").read_text())["pipes"][0]["published_top1"] is None


@pytest.mark.slow
def test_what_was_measured_is_there_when_something_later_fails(tmp_path, measured):
    """The model of this pipe file cannot be called, but its clips can be loaded."""
    folder, _, _ = measured
    pipe = tmp_path / "speechless.py"
    pipe.write_text(
        "from dataclasses import replace\n"
        "from c2d_fast.model.c2d import C2D\n"
        "from dali_pipes.demo import RECIPE as DEMO, eval_pipe, train_pipe\n"
        "RECIPE = replace(DEMO, generated_data=False)\n"
        "C2D.forward = None\n"
    )
    flags = ["--pipe", pipe, "--count", 2, "--frames", 60, "--size", "160x128", "--batch-size", 2, "--steps", 2, "--rounds", 1]
    flags += ["--no-peers", "--data", folder / "data", "--out", tmp_path / "t.json", "--sweep", "cropping=cleared,kept"]
    done = run("benchmarks/throughput.py", *flags, "decode-batch=2")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    result = json.loads((tmp_path / "t.json").read_text())
    assert {row["form"] for row in result["loaders"]} == {"stored", "intra"}
    assert [(row["cropping"], row["decode-batch"]) for row in result["sweep"]] == [("cleared", 2), ("kept", 2)]
    assert all(row["clips_per_s"] > 0 for row in result["sweep"])
    assert result["pipes"][0]["loader"]["clips_per_s"] > 0
    assert "model" not in result["pipes"][0]
    assert not list(tmp_path.glob(".*partial"))


@pytest.fixture
def here(monkeypatch):
    """The benchmarks' modules can be imported."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("channels_first", [False, True])
def test_models_are_trained_by_the_trainer_s_own_step(here, monkeypatch, channels_first):
    import torch
    import trained

    from c2d_fast.recipe import load_pipe
    from c2d_fast.training.distributed import Group
    from c2d_fast.training.train_step import TrainStep

    tuned, strides, make_optimizer = [], {}, trained.make_optimizer

    def noting_strides(model, *args):
        strides.update({parameter: parameter.stride() for parameter in model.parameters()})
        return make_optimizer(model, *args)

    monkeypatch.setattr(trained, "make_optimizer", noting_strides)
    monkeypatch.setattr(trained, "tune_kernels", tuned.append)
    recipe, device = load_pipe("dali_pipes/demo.py").recipe, torch.device("cpu")
    one = trained.Trained(recipe, device, precision=None, compiled=False, channels_first=channels_first)
    batch = trained.cached_batch(recipe, 2, device)
    for _ in range(2):
        one.step(batch)
    assert tuned == [device]
    assert type(one.train_step) is TrainStep
    *_, clips, norms, steps = one._metrics.sums(Group())
    assert (clips, norms > 0, steps) == (4, True, 2)
    # The fused optimizer, which only a GPU has, refuses momentum of other strides than the weights'.
    weights = [parameter for parameter in one.model.parameters() if parameter.dim() == 4]
    layout = torch.contiguous_format if channels_first else torch.channels_last
    assert all(weight.is_contiguous(memory_format=layout) for weight in weights)
    assert all(parameter.stride() == strides[parameter] for parameter in one.model.parameters())


def test_clips_are_shared_by_what_each_decoder_reaches_alone(here, monkeypatch):
    import sweep
    import torch
    from measure import Setting

    asked = []

    def loader_round(pipe, form, setting, warmup, steps, seed):
        asked.append((setting.decoder, setting.decoder_threads))
        return {"dali": 30.0, "ffmpeg": 10.0}[setting.decoder]

    monkeypatch.setattr(sweep, "loader_round", loader_round)
    monkeypatch.setattr(sweep, "chosen_decoder", lambda form, setting: setting.decoder)
    form = type("Form", (), {"name": "stored"})
    setting = Setting(device=torch.device("cpu"), decoder="hybrid", workers=2, decoder_threads=4, batch_size=8)
    shares = sweep.Shares(None, 1, 1)
    assert shares.fill_in(form, setting).hybrid_share == 0.75
    assert shares.fill_in(form, setting).hybrid_share == 0.75
    assert asked == [("dali", 4), ("ffmpeg", 1)]
    told = sweep.changed(setting, {"hybrid-share": 0.25, "cropping": "kept", "form": "stored"})
    assert shares.fill_in(form, told) is told
    assert (told.hybrid_share, told.clear_cropping) == (0.25, False)


def test_a_model_that_lacks_memory_beside_others_is_tried_again_alone(here, tmp_path):
    from stages.child import LostError
    from stages.lane import Lane
    from stages.stage import Asked, Stage
    from stages.ways import all_ways

    def fail(message):
        raise LostError(message, is_gone=False)

    stage = Stage("toy", "toy/1", Asked(out=tmp_path, data=tmp_path, budget_s=60, rehearse=True), None)
    lane = Lane(stage, "toy", all_ways(rehearse=True)[:2], {})
    answers = iter([lambda: fail("out of memory on cuda:0"), lambda: {"precision": "bf16"}, lambda: fail("out of memory")])
    child = type("Child", (), {"seconds": 3.0, "call": lambda *_: None, "end": lambda _: None})()
    child.answer = lambda limit_s: next(answers)()
    child.ask = lambda *_, limit_s: child.answer(limit_s)
    lane._child = child
    lane.start()
    assert lane.hear(alone=False) == ""
    assert (lane.may_start, lane.needs_quiet) == (True, True)
    lane.start()
    assert lane.hear(alone=True) == ""
    assert (lane.is_ready, lane.prepared_s) == (True, 3.0)
    assert lane.measure(0.1, 1, alone=False) == {"missing": "out of memory"}  # the second time
    lane.skip()
    assert (lane.way.name, lane.may_start, lane.needs_quiet) == ("small_64px.py", True, False)
    assert lane.close() == ["small_64px.py"]


def test_crops_of_one_step_and_of_two_are_compared(tmp_path):
    flags = ["--sizes", "340x256", "456x320", "--clips", 2, "--videos", 1, "--data", tmp_path, "--out", tmp_path / "crops.json"]
    done = run("benchmarks/crops.py", *flags)
    assert done.returncode == 0, done.stderr
    sizes = json.loads((tmp_path / "crops.json").read_text())["sizes"]
    assert list(sizes) == ["340x256", "456x320"]
    assert (sizes["340x256"]["worst_box_difference"], sizes["340x256"]["sharpness_ratio"]) == (0, 1)
    assert sizes["456x320"]["worst_box_difference"] > sizes["456x320"]["mean_difference"] > 0.3
    assert sizes["456x320"]["sharpness_ratio"] > 1.05
    assert all(ms > 0 for size in sizes.values() for ms in size["ms_per_clip"].values())


def test_a_machine_names_the_dali_that_it_has(here, monkeypatch):
    import machine

    assert len(machine.dali_versions()) == 1
    monkeypatch.setattr(machine, "version", {"nvidia-dali-cuda130": "9.9"}.get)
    assert machine.dali_versions() == {"nvidia-dali-cuda130": "9.9"}
    assert machine.describe_host("av")["nvidia-dali-cuda130"] == "9.9"


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "decoder"), [("h264", "ffmpeg"), ("vp9", "dali")])
def test_the_loader_s_memory_and_open_files_stay(tmp_path, codec, decoder):
    flags = ["--codec", codec, "--decoder", decoder, "--data", tmp_path, "--out", tmp_path / "memory.json"]
    done = run("benchmarks/memory.py", *flags)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "memory.json").read_text())
    assert result["clips"] == 20_000
    assert result["slope_kb_per_1000_clips"] < 150
    files = result["open_files"][len(result["open_files"]) // 2 :]  # the slots of the workers' memory are opened one by one
    assert max(files) - min(files) <= 4
