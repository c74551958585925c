"""Real DALI pipelines whose videos break, and whose workers end with them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from loaders import dataset, eval_loader, train_loader
from media import spoil

from c2d_fast.errors import UserError


@pytest.mark.parametrize(
    ("decoder", "damage"),
    [
        ("ffmpeg", "gone"),
        ("ffmpeg", "spoilt"),
        ("dali", "spoilt"),
        ("ffmpeg", "changed"),
        pytest.param("dali", "gone", marks=pytest.mark.slow),
        pytest.param("dali", "changed", marks=pytest.mark.slow),
    ],
)
def test_a_video_that_breaks_during_training_is_replaced_as_if_it_had_never_been_there(tmp_path, decoder, damage, capsys):
    bad = dataset(tmp_path, codec="h264" if decoder == "ffmpeg" else "vp9", count=6)
    victim = train_loader(bad, decoder, workers=2)[1].index(1, 1)  # second batch
    expected = [b.clip for b in train_loader(bad, decoder, quarantined=frozenset({victim}))[0].epoch(0)]
    file = bad.manifest.listing.file(victim)
    if damage == "gone":
        file.unlink()
    elif damage == "spoilt":
        spoil(file)
    else:
        file.write_text("no video")
    loader, _ = train_loader(bad, decoder, workers=2)
    batches = list(loader.epoch(0))
    assert len(batches) == len(expected)
    assert all(torch.equal(batch.clip, clip) for batch, clip in zip(batches, expected, strict=True))
    assert f"broken video: {bad.manifest.location(victim)}" in capsys.readouterr().out
    assert len(bad.found) == 1


def test_too_many_broken_videos_end_the_run(tmp_path):
    bad = dataset(tmp_path, count=4)
    bad.limit = (1.0, False)
    for i in range(3):
        spoil(bad.manifest.listing.file(i))
    loader, _ = train_loader(bad)
    with pytest.raises(UserError, match=r"clip \d.mp4 does not decode .*the limit is 1: mend them"):
        list(loader.epoch(0))


def test_a_video_that_breaks_before_scoring_is_left_out(tmp_path):
    bad = dataset(tmp_path, count=5)
    bad.manifest.listing.file(3).unlink()
    loader, _ = eval_loader(bad)
    batches = list(loader.views())
    assert [i for b in batches for i in b.index[b.valid].tolist()] == [0, 1, 2, 4]


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, "tests")
import loaders as t
if __name__ == "__main__":
    loader, _ = t.train_loader(t.dataset(Path(sys.argv[1]), count=4), workers=2)
    next(loader.epoch(0))
    workers = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    print(*[w for w in workers if b"spawn_main" in Path(f"/proc/{w}/cmdline").read_bytes()], flush=True)
    os.kill(os.getpid(), int(sys.argv[2]))
    next(loader.epoch(1))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_a_run_that_is_killed(tmp_path, number):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(tmp_path / "data"), str(int(number))]
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=120)
    assert done.returncode == -number, done.stderr
    workers = [Path(f"/proc/{pid}") for pid in done.stdout.splitlines()[-1].split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 30
    while any(worker.exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(worker.exists() for worker in workers)
