"""Runs that are told to stop, and runs that are killed."""

import json
import os
import random
import signal
import time

import numpy as np
import pytest
from runs import (
    FAULTY,
    end,
    flags,
    last,
    run,
    same_weights,
    start,
    wait_for_steps,
)

from c2d_fast.model import checkpoint
from c2d_fast.processes.signals import StopSignals


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGUSR1, 138, "stopped by SIGUSR1")]
)
def test_a_signal_to_all_processes_saves_and_ends(eight_videos, tmp_path, number, code, word):
    """As a terminal, or a job system, sends it: to the workers, too."""
    out = tmp_path / "run"
    process = start(*flags(eight_videos, out, epochs=1000, workers=2))
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


def test_a_second_interrupt_stops_at_once(eight_videos, tmp_path):
    out = tmp_path / "run"
    process = start(*flags(eight_videos, out, "--pipe", FAULTY), FAULT=json.dumps({"kind": "hang", "video": 3}))
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


EPOCHS = 8


def kill_often(data, out, times, *, epochs, seed):
    """Kills a run and resumes it, so many times; returns the step of the newest checkpoint at each death."""
    moments, steps = random.Random(seed), []
    words = [*flags(data, out, "--resume", "auto", "--checkpoint-steps", "1", epochs=epochs, workers=2)]
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
def test_killed_at_random_moments_a_run_ends_as_if_it_had_not_been(eight_videos, tmp_path, times):
    epochs = EPOCHS * times  # a run must be long enough to be killed so often
    assert run(*flags(eight_videos, tmp_path / "whole", epochs=epochs)).returncode == 0
    steps = kill_often(eight_videos, tmp_path / "run", times, epochs=epochs, seed=times)
    done = run(*flags(eight_videos, tmp_path / "run", "--resume", "auto", epochs=epochs))
    assert done.returncode == 0, done.stderr
    print("steps at each death:", steps)
    assert times < 30 or len(set(steps)) >= 10
    assert same_weights(last(tmp_path / "run"), last(tmp_path / "whole"))
    assert same_weights(last(tmp_path / "run", "best.pt"), last(tmp_path / "whole", "best.pt"))
    assert np.all(np.diff(steps) >= 0)
