"""What a run must survive, or end by in one line: full disks, broken files, dead and hanging workers, a second run, signals."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from media import make_dataset, make_video, spoil
from runs import ROOT, batches, command, environment, flags, last, run, same_weights, train

from c2d_fast import checkpoint
from c2d_fast.errors import UserError
from c2d_fast.signals import StopSignals

FAULTY = ROOT / "tests" / "faulty_pipe.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), count=8, num_frames=(20, 31))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    done = run(*flags(data, out))
    assert done.returncode == 0, done.stderr
    return out


def one_line(done, code, *parts):
    assert done.returncode == code, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for part in parts:
        assert part in done.stderr


def start(*words, **env):
    return subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
                            env=environment(**env), start_new_session=True)  # fmt: skip


def wait_for_steps(process, out, number):
    """Waits until so many batches have been fed."""
    deadline = time.monotonic() + 90
    while not (out / "batches-rank0.jsonl").exists() or len((out / "batches-rank0.jsonl").read_text().splitlines()) < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


# --- disks and folders ---


def test_a_full_disk_ends_the_run_and_leaves_the_checkpoint_before(data, tmp_path):
    out = tmp_path / "run"
    assert run(*flags(data, out, epochs=1)).returncode == 0
    before = last(out)
    size = (out / "last.pt").stat().st_size

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing past the limit fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))

    words = [*flags(data, out, "--resume", "auto"), "--checkpoint-steps", "2"]
    done = subprocess.run(
        command(*words), capture_output=True, text=True, cwd=ROOT, timeout=100, check=False, env=environment(), preexec_fn=limit
    )
    one_line(done, 2, "checkpoint", "cannot be written", "free the disk")
    assert same_weights(last(out), before)
    assert not list(out.glob("*.partial"))
    done = run(*words)  # there is room again
    assert done.returncode == 0, done.stderr
    assert last(out)["progress"]["epoch"] == 2


def test_records_that_cannot_be_written_do_not_end_a_run(tmp_path, capsys):
    from toy import make_trainer

    trainer = make_trainer(tmp_path / "run", top1s=[1, 2])
    trainer.records._jsonl.close()
    trainer.records._jsonl = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115
    trainer.run(2)
    trainer.records._jsonl = Path("/dev/null").open("w")  # noqa: SIM115
    trainer.records.close()
    assert capsys.readouterr().out.count("can no longer be written (No space left on device); the run goes on") == 1
    assert last(tmp_path / "run")["progress"]["epoch"] == 2


def test_an_output_below_a_file_is_refused(data, tmp_path):
    (tmp_path / "file").write_text("")
    one_line(run(*flags(data, tmp_path / "file" / "run")), 2, f"{tmp_path / 'file'} is not a folder")


def test_a_second_run_in_the_same_folder_is_refused_and_a_crash_leaves_no_lock(data, tmp_path):
    out = tmp_path / "run"
    process = start(*flags(data, out, epochs=1000))
    try:
        wait_for_steps(process, out, 2)
        for more in ([], ["--resume", "auto"]):
            one_line(run(*flags(data, out, *more)), 2, f"another run writes there now (process {process.pid} on ")
        assert process.poll() is None
    finally:
        end(process)
    done = run(*flags(data, out, "--resume", "auto", epochs=1))
    assert done.returncode == 0, done.stderr


# --- broken videos ---


def _damaged(path):
    spoil(path, keep=path.stat().st_size // 2)


BROKEN = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 3),
    "empty": lambda path: os.truncate(path, 0),
    "text": lambda path: path.write_text("no video\n"),
    "other codec": lambda path: path.write_bytes(b"\x1aE\xdf\xa3" + bytes(500)),
    "damaged": _damaged,
    "missing": lambda path: path.unlink(),
}


QUICK = {("truncated", "before"), ("damaged", "while it runs")}
CASES = [
    pytest.param(kind, when, marks=() if (kind, when) in QUICK else pytest.mark.slow)
    for kind in BROKEN
    for when in ("before", "while it runs")
]


@pytest.mark.parametrize(("kind", "when"), CASES)
def test_broken_training_videos_are_named_replaced_and_bounded(tmp_path, monkeypatch, capsys, kind, when):
    data = make_dataset(tmp_path / "data", count=8, num_frames=(20,))
    good = tmp_path / "data" / "good.txt"
    good.write_text("".join(data.read_text().splitlines(keepends=True)[4:]))
    victim = data.parent / "some videos/clip 2.mp4"
    words = [
        word if word != str(data) else str(data if i == 3 else good) for i, word in enumerate(flags(data, tmp_path / "run"))
    ]
    more = ["--allow-missing"] if kind == "missing" else []

    def break_it(step, number):
        if number == 1 and not broken:
            BROKEN[kind](victim)
            broken.append(victim)

    broken = []
    if when == "before":
        break_it(None, 1)
        if kind == "missing":
            with pytest.raises(UserError, match=r"clip 2.mp4.*--allow-missing"):
                train(*words, monkeypatch=monkeypatch)
        elif kind != "damaged":  # which shows only when it is decoded: a scan or the run finds it
            with pytest.raises(UserError, match=r"1 of the 8 videos .*clip 2.mp4.*limit is 1%"):
                train(*words, monkeypatch=monkeypatch)
    assert train(*words, "--max-bad-videos", 1, "--epochs", 3, *more, monkeypatch=monkeypatch, before_step=break_it) == 0
    assert "clip 2.mp4" in capsys.readouterr().out
    quarantine = tmp_path / "run" / "quarantine.jsonl"
    if when == "while it runs":
        (entry,) = [json.loads(line) for line in quarantine.read_text().splitlines()[1:]]
        assert (entry["path"], entry["list"]) == ("some videos/clip 2.mp4", "train")
        assert all(
            "clip 2" not in "".join(videos) for (epoch, *_), (videos, _) in batches(tmp_path / "run").items() if epoch == 3
        )
        # Resumed it is known from the start, and counts.
        assert (
            train(*words, "--max-bad-videos", 1, "--epochs", 4, "--resume", "auto", "--allow-missing", monkeypatch=monkeypatch)
            == 0
        )
        assert len(quarantine.read_text().splitlines()) == 2
        assert last(tmp_path / "run")["left_out_rows"] == []  # it keeps its place in the order


@pytest.mark.parametrize("kind", [pytest.param(k, marks=() if k == "damaged" else pytest.mark.slow) for k in BROKEN])
def test_broken_videos_are_never_replaced_when_scoring(whole, tmp_path, run_command, kind):
    data = make_dataset(tmp_path / "data", count=4, num_frames=(20,))
    score = ["test", "--pipe", "tests/tiny_pipe.py", "--checkpoint", whole / "best.pt", "--list", data, "--views", "1x1"]
    assert run_command(*score).returncode == 0  # the files are known as good ones now
    BROKEN[kind](data.parent / "some videos/clip 2.mp4")
    one_line(run_command(*score), 2, "clip 2.mp4", "--allow-missing")
    done = run_command(*score, "--allow-missing")
    assert done.returncode == 0, done.stderr
    assert "3 of 4 videos" in done.stdout.splitlines()[-1]


def test_a_validation_video_that_breaks_costs_no_epoch_but_the_exit_code(tmp_path, monkeypatch, capsys):
    data = make_dataset(tmp_path / "data", count=8, num_frames=(20,))
    val = tmp_path / "val.txt"
    victim = make_video(tmp_path / "data" / "val.mp4", num_frames=20)
    val.write_text(data.read_text() + "val.mp4 1\n")
    words = flags(data, tmp_path / "run", "--val-root", data.parent)
    words[5] = str(val)
    with pytest.raises(UserError, match=r"1 of the 9 videos of .*val.txt broke .*val.mp4 .*--allow-missing"):
        train(*words, monkeypatch=monkeypatch, before_step=lambda step, number: spoil(victim) if number == 1 else None)
    assert "8 of 9 videos" in capsys.readouterr().out
    assert last(tmp_path / "run")["progress"]["epoch"] == 2


def test_all_broken(tmp_path, monkeypatch):
    data = make_dataset(tmp_path / "data", count=4, num_frames=(20,))
    words = [*flags(data, tmp_path / "run", "--max-bad-videos", "100%"), "--allow-missing"]

    def break_all(step, number):
        for path in (data.parent / "some videos").iterdir() if number == 1 else ():
            spoil(path)

    with pytest.raises(UserError, match="no video is left that decodes"):
        train(*words, "--epochs", 9, monkeypatch=monkeypatch, before_step=break_all)
    lines = (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()
    assert {json.loads(line)["path"] for line in lines[1:]} == {f"some videos/clip {i}.mp4" for i in range(4)}
    for path in (data.parent / "some videos").iterdir():
        path.write_text("no video")
    with pytest.raises(UserError, match=r"4 of the 4 videos .* none is left"):
        train(*flags(data, tmp_path / "other", "--max-bad-videos", "100%"), monkeypatch=monkeypatch)


# --- workers, stalls, memory ---


def test_a_killed_worker_is_named_and_replaced(data, whole, tmp_path):
    words = flags(data, tmp_path / "run", "--pipe", FAULTY)
    done = run(*words, env={"FAULT": json.dumps({"kind": "die once", "video": 3, "mark": str(tmp_path / "mark")})})
    assert done.returncode == 0, done.stderr
    assert "warning: loader workers ended: process" in done.stdout
    assert "by SIGKILL (perhaps for want of memory); starting new ones" in done.stdout
    assert same_weights(last(tmp_path / "run"), last(whole))
    assert batches(tmp_path / "run") == batches(whole)


HOLDER = """
import multiprocessing, os, signal, time
def hold(lock):
    lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)
class Queue: pass
if __name__ == "__main__":
    from c2d_fast import orphaned_locks
    orphaned_locks._PATIENCE_S = 0.5
    context = multiprocessing.get_context("spawn")
    pipeline, pool, queue = Queue(), Queue(), Queue()
    queue.lock, pool._result_queue, pipeline._py_pool = context.Lock(), queue, Queue()
    queue.cv_not_empty = context.Condition(queue.lock)
    pipeline._py_pool.pool = pool
    worker = context.Process(target=hold, args=(queue.lock,))
    worker.start()
    orphaned_locks.guard(pipeline, [worker], (0,))
    worker.join()
    print(queue.lock.acquire(timeout=0.1), queue.lock.acquire(timeout=10), queue.lock._semlock._is_mine())
"""


def test_a_lock_that_a_killed_worker_holds_is_let_go_of(tmp_path):
    (tmp_path / "holder.py").write_text(HOLDER)
    done = subprocess.run([sys.executable, tmp_path / "holder.py"], capture_output=True, text=True, timeout=60, check=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.stdout.split() == ["False", "True", "True"], done.stderr


def test_workers_that_die_again_and_again_end_the_run(data, tmp_path):
    done = run(*flags(data, tmp_path / "run", "--pipe", FAULTY), env={"FAULT": json.dumps({"kind": "die", "video": 3})})
    one_line(done, 75, "3 times in a row", "--workers", "--resume auto")


def test_a_source_that_hangs_is_ended_by_the_watchdog(data, tmp_path):
    out = tmp_path / "run"
    words = flags(data, out, "--pipe", FAULTY, "--stall-minutes", 0.2)
    done = run(*words, env={"FAULT": json.dumps({"kind": "hang", "video": 3})})
    one_line(done, 75, "no progress for 12 s", "while waiting for a batch", "last.pt holds step", "--resume auto")
    (dump,) = out.glob("stall-*-rank0.txt")
    text = dump.read_text()
    assert "clip 3.mp4" in text.partition("the last training batch")[0]
    assert "trainer.py" in text.partition("Workers:")[0]
    assert "faulty_source.py" in text.partition("Workers:")[2]
    assert run(*words, "--resume", "auto").returncode == 0


@pytest.mark.slow
def test_a_rank_that_hangs_ends_all_ranks(data, tmp_path):
    words = flags(data, tmp_path / "run", "--pipe", FAULTY, "--stall-minutes", 0.1)
    done = run(*words, ranks=2, env={"FAULT": json.dumps({"kind": "hang", "video": 3})})
    assert done.returncode == 1
    assert "exitcode  : 75" in done.stderr
    assert "no progress for 6 s" in done.stderr


def test_too_little_memory_is_one_line(data, tmp_path):
    done = run(
        *flags(data, tmp_path / "run", "--pipe", FAULTY), env={"FAULT": json.dumps({"kind": "out of memory", "calls": [2]})}
    )
    one_line(done, 2, "out of memory on cpu in step 2 with --batch-size 2", "--batch-size 1 --accumulate 2")
    assert last(tmp_path / "run")["progress"]["step"] == 0


# --- signals ---


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGUSR1, 138, "stopped by SIGUSR1")]
)
def test_a_signal_to_all_processes_saves_and_ends(data, tmp_path, number, code, word):
    """As a terminal, or a job system, sends it: to the workers, too."""
    out = tmp_path / "run"
    process = start(*flags(data, out, epochs=1000))
    try:
        wait_for_steps(process, out, 3)
        os.killpg(process.pid, number)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        end(process)
    assert (process.returncode, stderr.strip()) == (code, word)
    step = last(out)["progress"]["step"]
    assert step >= 2
    assert f"last.pt holds step {step}; go on from there with --resume auto --out {out}" in stdout


def test_a_second_interrupt_stops_at_once(data, tmp_path):
    out = tmp_path / "run"
    process = start(*flags(data, out, "--pipe", FAULTY), FAULT=json.dumps({"kind": "hang", "video": 3}))
    try:
        deadline = time.monotonic() + 60
        while not (out / "last.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(2)  # it waits for a batch that never comes
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    finally:
        end(process)
    assert process.returncode == 130
    assert stderr.strip() == "interrupted twice: stopped at once, without saving"


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        deadline = time.monotonic() + 5
        while not signals.received and time.monotonic() < deadline:
            time.sleep(0.01)
    assert signals.received == signal.SIGUSR1
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


# --- killed ---


EPOCHS = 8


def kill_often(data, out, times, seed):
    """Kills a run and resumes it, so many times; returns the step of the newest checkpoint at each death."""
    moments, steps = random.Random(seed), []
    words = [*flags(data, out, "--resume", "auto", "--checkpoint-steps", "1", epochs=EPOCHS)]
    for _ in range(times):
        fed, began = _fed(out), time.monotonic()
        process = start(*words)
        try:
            # Starting takes seconds; most moments lie among the steps and while a checkpoint is written.
            if moments.random() < 0.8:
                while process.poll() is None and time.monotonic() < began + 60 and _fed(out) == fed:
                    time.sleep(0.02)
                time.sleep(moments.random() * 1.5)
            else:
                time.sleep(moments.random() * 6)
        finally:
            end(process)
        for path in out.glob("*.pt"):  # what has its name is whole
            checkpoint.load(path, "x")
        steps.append(last(out)["progress"]["step"] if (out / "last.pt").exists() else 0)
    return steps


def _fed(out):
    path = out / "batches-rank0.jsonl"
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize("times", [1, pytest.param(30, marks=pytest.mark.slow)])
def test_killed_at_random_moments_a_run_ends_as_if_it_had_not_been(data, tmp_path, times):
    assert run(*flags(data, tmp_path / "whole", epochs=EPOCHS)).returncode == 0
    steps = kill_often(data, tmp_path / "run", times, seed=times)
    done = run(*flags(data, tmp_path / "run", "--resume", "auto", epochs=EPOCHS))
    assert done.returncode == 0, done.stderr
    print("steps at each death:", steps)
    assert times < 30 or len(set(steps)) >= 10
    assert same_weights(last(tmp_path / "run"), last(tmp_path / "whole"))
    assert same_weights(last(tmp_path / "run", "best.pt"), last(tmp_path / "whole", "best.pt"))
    assert np.all(np.diff(steps) >= 0)
