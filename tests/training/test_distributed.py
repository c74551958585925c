"""Several ranks over Gloo, started as torchrun does it, and by torchrun itself where that is what counts."""

import json
import signal
import subprocess
import time

import pytest
from fork_server import environment
from media import make_dataset, spoil
from runs import FAULTY, ROOT, batches, command, flags, last, metrics, run, same_weights

TOLERANCE = 1e-6  # of parameters; seen: 0, since two gradients are summed in either order


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), count=16, num_frames=(20, 31), sizes=((160, 96), (96, 160)))


@pytest.fixture(scope="module")
def two(data, tmp_path_factory):
    """The folder of a run of two ranks, of which each step's checkpoint stays."""
    out = tmp_path_factory.mktemp("two") / "run"
    done = run(*flags(data, out, "--checkpoint-steps", 1, "--keep", 99), ranks=2)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return out


def fed(out, ranks):
    """What each part of each step was fed, whichever rank it went to."""
    if ranks == 1:
        return batches(out)
    return {(epoch, step, rank): what for rank in range(ranks) for (epoch, step, _), what in batches(out, rank).items()}


def farthest(a, b):
    """The greatest difference of two runs' parameters; running statistics are averaged over ranks, and not compared."""
    keys = [key for key in a["model"] if not key.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    return max((a["model"][key] - b["model"][key]).abs().max().item() for key in keys)


def test_two_ranks_and_one_that_accumulates_two_batches_do_the_same(data, two, tmp_path):
    done = run(*flags(data, tmp_path / "one", "--accumulate", 2))
    assert done.returncode == 0, done.stderr
    assert fed(tmp_path / "one", 1) == fed(two, 2)
    assert len(fed(two, 2)) == 16
    assert farthest(last(tmp_path / "one"), last(two)) < TOLERANCE  # with dropout, which is a function of step and part
    # Every video is scored once, and by one rank.
    assert [line["videos"] for line in metrics(two) if line["kind"] == "val"] == [16, 16]
    losses = [[line["loss"] for line in metrics(out) if line["kind"] == "train"] for out in (tmp_path / "one", two)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.slow
def test_a_run_goes_from_two_ranks_to_one_and_back(data, two, tmp_path):
    out = tmp_path / "run"
    words = flags(data, out, "--checkpoint-steps", 1, "--keep", 99)
    for more, ranks in (
        (["--resume", two / "step-00000002.pt"], 1),
        (["--resume", out / "step-00000006.pt"], 2),
    ):
        done = run(*words, *more, *(["--accumulate", 2] if ranks == 1 else []), ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert "note: it was trained with global batch" not in done.stdout
    assert last(out)["progress"]["step"] == 8
    assert farthest(last(out), last(two)) < TOLERANCE


@pytest.mark.slow
def test_resumed_with_as_many_ranks_it_is_the_same_to_the_bit(data, two, tmp_path):
    done = run(*flags(data, tmp_path / "run"), "--resume", two / "step-00000003.pt", ranks=2)
    assert done.returncode == 0, done.stderr
    assert same_weights(last(tmp_path / "run") | {"progress": 0}, last(two) | {"progress": 0})  # running statistics, too


@pytest.mark.parametrize("by_torchrun", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_rank_that_is_killed_is_started_again(data, two, tmp_path, by_torchrun):
    """By torchrun, or as it does that: it ends the other rank, and starts both anew."""
    words = flags(data, tmp_path / "run", "--pipe", FAULTY, "--checkpoint-steps", 1)
    env = {"FAULT": json.dumps({"kind": "kill", "rank": 1, "calls": [7]})}
    if by_torchrun:
        done = run(*words, ranks=2, restarts=1, env=env)
    else:
        env |= {"TORCHELASTIC_MAX_RESTARTS": "1"}
        first = run(*words, ranks=2, env=env | {"TORCHELASTIC_RESTART_COUNT": "0"})
        assert first.returncode == 1
        done = run(*words, ranks=2, env=env | {"TORCHELASTIC_RESTART_COUNT": "1"})
        done.stderr = first.stderr + done.stderr
    assert done.returncode == 0, done.stderr
    assert "after epoch 1, step 6" in done.stdout
    assert any(text in done.stderr for text in ("rank 0: lost another rank", "-9", "stopped by SIGTERM"))
    assert same_weights(last(tmp_path / "run"), last(two))
    assert fed(tmp_path / "run", 2) == fed(two, 2)
    without = [word for word in words if word not in ("--out", str(tmp_path / "run"))]
    refused = run(*without, env={"TORCHELASTIC_MAX_RESTARTS": "1"})  # which torchrun sets
    assert "--out is missing: torchrun may start this run again" in refused.stderr


def test_a_gradient_that_is_not_finite_on_one_rank_is_applied_on_none(data, tmp_path):
    out = tmp_path / "run"
    words = flags(data, out, "--pipe", FAULTY, "--checkpoint-steps", 1, "--keep", 9, epochs=1)
    done = run(*words, ranks=2, env={"FAULT": json.dumps({"kind": "nan", "rank": 1, "calls": [3]})})
    assert done.returncode == 0, done.stderr
    assert "step 3 was not applied" in done.stdout
    before, after = last(out, "step-00000002.pt"), last(out, "step-00000003.pt")
    counted = {key: value for key, value in after["model"].items() if not key.endswith("num_batches_tracked")}
    assert same_weights(before | {"progress": 0}, after | {"progress": 0, "model": before["model"] | counted})
    assert all((before["model"][key] == value).all() for key, value in counted.items())
    assert after["progress"]["skipped"] == 1
    assert all(value.isfinite().all() for value in last(out)["model"].values())
    (line,) = [json.loads(line) for line in (out / "nonfinite.jsonl").read_text().splitlines()]
    assert (line["step"], [rank["loss"] for rank in line["ranks"]][1]) == (3, ["nan"])
    assert [rank["videos"] for rank in line["ranks"]] == [batches(out, rank)[1, 3, 0][0] for rank in (0, 1)]


@pytest.mark.slow
def test_a_few_in_a_row_end_the_run(data, tmp_path):
    words = flags(data, tmp_path / "run", "--pipe", FAULTY)
    done = run(*words, ranks=2, env={"FAULT": json.dumps({"kind": "nan", "rank": 1, "calls": list(range(3, 9))})})
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "the gradients of 4 steps in a row, to step 6, are not finite" in line
    assert f"{tmp_path / 'run' / 'last.pt'} is the last good checkpoint" in line


def test_a_video_that_breaks_on_one_rank_keeps_all_in_step(tmp_path):
    data = make_dataset(tmp_path / "data", count=16, num_frames=(20,))
    out = tmp_path / "run"
    words = [*flags(data, out, "--max-bad-videos", 2), "--allow-missing"]
    assert run(*words, "--epochs", 1, ranks=2).returncode == 0
    victim = batches(out, 1)[1, 2, 0][0][0]
    spoil(data.parent / victim.split(": ")[1])
    done = run(*words, "--resume", "auto", ranks=2)
    assert done.returncode == 0, done.stderr
    entries = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()[1:]]
    assert {(entry["list"], entry["where"]) for entry in entries} == {("train", victim), ("val", victim)}
    assert done.stdout.count(f"{victim} does not decode") == 2
    assert [line["videos"] for line in metrics(out) if line["kind"] == "val"] == [16, 15]
    assert all(victim not in videos for rank in (0, 1) for (epoch, *_), (videos, _) in batches(out, rank).items() if epoch == 2)
    assert last(out)["progress"]["step"] == 8


@pytest.mark.slow
def test_the_test_command_shares_a_list_between_ranks(data, two, tmp_path):
    dumps = []
    for ranks in (1, 2):
        dump = tmp_path / f"{ranks}.json"
        words = [str(word) for word in ("--pipe", ROOT / "tests/tiny_pipe.py", "--checkpoint", two / "best.pt", "--list", data,
                                        "--dump", dump, "--batch-size", 3)]  # fmt: skip
        done = subprocess.run(
            [word if word != "c2d_fast.train" else "c2d_fast.test" for word in command(*words, ranks=ranks)],
            capture_output=True, text=True, cwd=ROOT, timeout=100, check=False, env=environment(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        dumps.append(json.loads(dump.read_text()))
    assert [row["path"] for row in dumps[0]] == [row["path"] for row in dumps[1]]
    for one, shared in zip(*dumps, strict=True):
        assert one["scores"] == pytest.approx(shared["scores"], abs=1e-6)


@pytest.mark.slow
def test_torchrun_told_to_stop_lets_the_ranks_save(data, two, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(*flags(data, out, epochs=100), ranks=2), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT,
        env=environment(), text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 90
        while not (out / "batches-rank0.jsonl").exists() or len(batches(out)) < 6:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    step = last(out)["progress"]["step"]
    assert step >= 5
    assert f"holds step {step}; go on from there with --resume auto" in told


def test_environments_that_do_not_fit_are_one_line(data, tmp_path):
    for env, part in (({"WORLD_SIZE": "2"}, "RANK (-1)"), ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'")):
        done = run(*flags(data, tmp_path / "run"), env=env)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert part in done.stderr
