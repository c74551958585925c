"""Loader workers that die, sources that hang, memory that does not suffice."""

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from runs import (
    FAULTY,
    batches,
    flags,
    last,
    one_line,
    run,
    same_weights,
    start,
)


def test_a_killed_worker_is_named_and_replaced(eight_videos, whole_run, tmp_path):
    words = flags(eight_videos, tmp_path / "run", "--pipe", FAULTY, workers=2)
    done = run(*words, env={"FAULT": json.dumps({"kind": "die once", "video": 3, "mark": str(tmp_path / "mark")})})
    assert done.returncode == 0, done.stderr
    assert "warning: loader workers ended: process" in done.stdout
    assert "by SIGKILL (perhaps for want of memory); starting new ones" in done.stdout
    assert same_weights(last(tmp_path / "run"), last(whole_run))
    assert batches(tmp_path / "run") == batches(whole_run)


def loader_workers(pid):
    """Returns the loader's worker processes of a run that read or have read."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    found = []
    for child in " ".join(path.read_text() for path in children).split():
        with contextlib.suppress(OSError):
            names = [path.read_text() for path in Path(f"/proc/{child}/task").glob("*/comm")]
            if any(name.startswith(("train ", "eval ")) for name in names):
                found.append(int(child))
    return found


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_workers_change_nothing(eight_videos, tmp_path, kills):
    """Workers are killed at random moments, between batches and within them; the run ends as if nothing had been."""
    epochs = 7 * kills
    sound, disturbed = tmp_path / "sound", tmp_path / "disturbed"
    moments = random.Random(kills)
    assert run(*flags(eight_videos, sound, epochs=epochs, workers=2)).returncode == 0
    with start(*flags(eight_videos, disturbed, epochs=epochs, workers=2)) as process:
        killed = set()
        while len(killed) < kills and process.poll() is None:
            time.sleep(moments.random())
            # One that is only being started has not been given anything yet.
            if workers := [pid for pid in loader_workers(process.pid) if pid not in killed]:
                pid = moments.choice(workers)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert len(killed) == kills, "the run was over too soon"
    assert out.count("by SIGKILL") >= kills - 2  # one that dies in the last moments is not told of
    assert same_weights(last(disturbed), last(sound))
    assert batches(disturbed) == batches(sound)


def test_workers_that_die_again_and_again_end_the_run(eight_videos, tmp_path):
    done = run(
        *flags(eight_videos, tmp_path / "run", "--pipe", FAULTY, workers=2),
        env={"FAULT": json.dumps({"kind": "die", "video": 3})},
    )
    one_line(done, 75, "3 times in a row", "--workers", "--resume auto")


def test_a_source_that_hangs_is_ended_by_the_watchdog(eight_videos, tmp_path):
    out = tmp_path / "run"
    words = flags(eight_videos, out, "--pipe", FAULTY, "--stall-minutes", 0.2)
    done = run(*words, env={"FAULT": json.dumps({"kind": "hang", "video": 3})})
    one_line(done, 75, "no progress for 12 s", "while waiting for a batch", "last.pt holds step", "--resume auto")
    (dump,) = out.glob("stall-*-rank0.txt")
    text = dump.read_text()
    assert "clip 3.mp4" in text.partition("the last training batch")[0]
    assert "trainer.py" in text.partition("Workers:")[0]
    assert "faulty_source.py" in text.partition("Workers:")[2]
    assert run(*words, "--resume", "auto").returncode == 0


@pytest.mark.slow
def test_a_rank_that_hangs_ends_all_ranks(eight_videos, tmp_path):
    words = flags(eight_videos, tmp_path / "run", "--pipe", FAULTY, "--stall-minutes", 0.1)
    done = run(*words, ranks=2, torchrun=True, env={"FAULT": json.dumps({"kind": "hang", "video": 3})})
    assert done.returncode == 1
    assert "exitcode  : 75" in done.stderr
    assert "no progress for 6 s" in done.stderr


def test_too_little_memory_is_one_line(eight_videos, tmp_path):
    fault = {"kind": "out of memory", "calls": [2]}
    done = run(*flags(eight_videos, tmp_path / "run", "--pipe", FAULTY), env={"FAULT": json.dumps(fault)})
    one_line(done, 2, "out of memory on cpu in step 2 with --batch-size 2", "--batch-size 1 --accumulate 2")
    assert last(tmp_path / "run")["progress"]["step"] == 0
