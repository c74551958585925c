"""Whole runs whose storage goes away, for a while or for good."""

import contextlib
import errno
import gc
import json
import os
import signal
import time

import pytest
from media import make_dataset, spoil
from runs import FAULTY, batches, end, flags, last, one_line, run, start, train, undisturbed, wait_for_steps

from c2d_fast.errors import EXIT_START_AGAIN, UserError


@pytest.fixture
def own_videos(tmp_path):
    """The videos of eight_videos, to do something to."""
    return make_dataset(tmp_path / "data", count=8, num_frames=(20, 31))


def until_it_waits(process):
    """Reads what a run says until it waits for the storage; returns that."""
    told = ""
    for line in process.stdout:
        told += line
        if line.startswith("waiting for storage: "):
            return told
    raise AssertionError(told + process.stderr.read())


@contextlib.contextmanager
def run_that_waits(videos, out, away, *more):
    """A run in whose midst the data folder has gone, and which has said so."""
    process = start(*flags(videos, out, *more))
    try:
        wait_for_steps(process, out, 1)
        videos.parent.rename(away)
        until_it_waits(process)
        yield process
    finally:
        end(process)


@pytest.mark.parametrize("seconds", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_a_run_goes_on_after_its_data_folder_was_gone(own_videos, whole_run, tmp_path, seconds):
    out, away = tmp_path / "run", tmp_path / "away"
    with run_that_waits(own_videos, out, away, "--checkpoint-steps", 1) as process:
        time.sleep(seconds)
        away.rename(own_videos.parent)
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "storage is back after " in stdout
    assert undisturbed(whole_run, out)


def test_a_signal_ends_a_run_that_waits_for_its_storage(own_videos, tmp_path):
    with run_that_waits(own_videos, tmp_path / "run", tmp_path / "away") as process:
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert stderr.startswith("stopped by SIGTERM; ")
    assert "last.pt holds step" in stderr
    assert len(stderr.splitlines()) == 1


@pytest.mark.parametrize("seconds", [2, pytest.param(30, marks=pytest.mark.slow)])
@pytest.mark.parametrize("gone", ["data", pytest.param("data/some videos", marks=pytest.mark.slow)])
def test_a_run_is_resumed_though_its_data_folder_is_gone_for_now(own_videos, whole_run, tmp_path, gone, seconds):
    out, away = tmp_path / "run", tmp_path / "away"
    assert run(*flags(own_videos, out, epochs=1)).returncode == 0
    (tmp_path / gone).rename(away)
    process = start(*flags(own_videos, out, "--resume", "auto"))
    try:
        until_it_waits(process)
        time.sleep(seconds)
        away.rename(tmp_path / gone)
        stdout, stderr = process.communicate(timeout=120)
    finally:
        end(process)
    assert process.returncode == 0, stderr
    assert "storage is back after " in stdout
    assert undisturbed(whole_run, out)


@pytest.mark.parametrize("when", [pytest.param("opened", marks=pytest.mark.slow), "decoded"])
@pytest.mark.parametrize("number", [errno.EIO, pytest.param(errno.ESTALE, marks=pytest.mark.slow),
                                    pytest.param(errno.ETIMEDOUT, marks=pytest.mark.slow)])  # fmt: skip
def test_errors_of_a_storage_are_waited_out(own_videos, whole_run, tmp_path, number, when):
    out, mark = tmp_path / "run", tmp_path / "mark"
    fault = {"kind": "storage", "errno": number, "when": when, "root": str(own_videos.parent), "mark": str(mark)}
    process = start(*flags(own_videos, out, "--pipe", FAULTY, "--checkpoint-steps", 1), FAULT=json.dumps(fault))
    try:
        wait_for_steps(process, out, 1)
        mark.touch()
        until_it_waits(process)
        mark.unlink()
        stdout, stderr = process.communicate(timeout=120)
    finally:
        end(process)
    assert process.returncode == 0, stdout + stderr
    assert undisturbed(whole_run, out)


def test_a_run_whose_storage_does_not_come_back_ends_and_can_be_resumed(own_videos, whole_run, tmp_path):
    out, data, away = tmp_path / "run", own_videos.parent, tmp_path / "away"
    process = start(*flags(own_videos, out, "--stall-minutes", 0.4, "--checkpoint-steps", 1))
    try:
        wait_for_steps(process, out, 1)
        data.rename(away)
        _, stderr = process.communicate(timeout=120)
    finally:
        end(process)
    assert process.returncode == EXIT_START_AGAIN
    (line,) = stderr.splitlines()
    assert line.startswith(f"storage: {data}/some videos/clip ")
    assert "for 24 s by now; no video is quarantined for that: start again with --resume auto; " in line
    assert line.endswith(f"last.pt holds step {last(out)['progress']['step']}")
    one_line(
        run(*flags(own_videos, out, "--resume", "auto", "--stall-minutes", 0.02)), 75, f"storage: {data}: ", "--resume auto"
    )
    away.rename(data)
    assert run(*flags(own_videos, out, "--resume", "auto")).returncode == 0
    assert undisturbed(whole_run, out)


def entries(out):
    return [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()[1:]]


@pytest.fixture
def training(own_videos, tmp_path, monkeypatch):
    """Trains on all of them in this process, and scores two others; returns the exit code."""
    (own_videos.parent / "good.txt").write_text("some videos/clip 0.mp4 0\nsome videos/clip 1.mp4 1\n")
    words = [*flags(own_videos, tmp_path / "run", "--resume", "auto")]
    words[words.index("--val-list") + 1] = str(own_videos.parent / "good.txt")
    gc.disable()  # a run's folder is let go of when it ends, not when its garbage is collected
    yield lambda epochs, limit, *more: train(
        *words, "--epochs", epochs, "--max-bad-videos", limit, *more, monkeypatch=monkeypatch
    )
    gc.enable()


def videos_of(out, wanted):
    return "".join("".join(videos) for (epoch, *_), (videos, _) in batches(out).items() if epoch == wanted)


def mend(victim, content, state):
    victim.write_bytes(content)
    os.utime(victim, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_a_file_that_is_gone_for_good_counts_and_is_used_again_once_it_is_back(own_videos, tmp_path, training):
    out, victim = tmp_path / "run", own_videos.parent / "some videos/clip 2.mp4"
    content, state = victim.read_bytes(), victim.stat()
    assert training(1, 0) == 0
    victim.unlink()
    assert training(2, 1) == 0
    assert not (out / "quarantine.jsonl").exists()
    assert "clip 2" not in videos_of(out, 2)
    mend(victim, content, state)
    assert training(3, 0) == 0
    assert "clip 2" in videos_of(out, 3)
    victim.unlink()
    with pytest.raises(UserError, match=r"clip 2.mp4 no such file; the limit is 0"):
        training(4, 0)


def test_a_quarantine_is_forgotten_when_asked(own_videos, tmp_path, training, capsys):
    out, victim = tmp_path / "run", own_videos.parent / "some videos/clip 2.mp4"
    content, state = victim.read_bytes(), victim.stat()
    assert training(1, 0) == 0
    spoil(victim)
    assert training(2, 1) == 0
    assert [entry["path"] for entry in entries(out)] == ["some videos/clip 2.mp4"]
    mend(victim, content, state)
    with pytest.raises(UserError, match="the limit is 0"):
        training(3, 0)
    assert training(3, 0, "--forget-quarantine") == 0
    assert f"--forget-quarantine: 1 videos of {out / 'quarantine.jsonl'} are used again" in capsys.readouterr().out
    assert "clip 2" in videos_of(out, 3)
    assert [entry.get("path", entry.get("forgotten")) for entry in entries(out)] == ["some videos/clip 2.mp4", 1]
    assert training(4, 0) == 0  # it stays forgotten
