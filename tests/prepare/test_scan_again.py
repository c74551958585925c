"""Scans that go on, are interrupted, or find another state than the one before."""

import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from media import make_dataset, make_video
from scans import scan, write_list

from c2d_fast.formats.manifest_file import read_manifest_file, table_path
from c2d_fast.formats.packet_table import open_table
from c2d_fast.lists.listing import read_list
from c2d_fast.manifest.manifest import read_manifest


def test_only_new_and_changed_files_are_read_again(tmp_path, run_command):
    path = make_dataset(tmp_path, count=4)
    out = tmp_path / "m.npz"
    assert scan(run_command, path, out).returncode == 0
    first = out.read_bytes()
    assert "0 are read" in scan(run_command, path, out).stdout
    assert out.read_bytes() == first
    make_video(tmp_path / "some videos/clip 2.mp4", num_frames=9)
    make_video(tmp_path / "new.mp4", num_frames=5)
    path.write_text(path.read_text() + "new.mp4 1\n")
    assert "3 of 5 videos are known and have not changed: 2 are read" in scan(run_command, path, out).stdout
    assert read_manifest_file(out).facts["frames"].tolist() == [40, 40, 9, 40, 5]
    # The packet table is asked for later: then files are read once more.
    assert "0 of 5" not in scan(run_command, path, out, "--packets").stdout
    table = open_table(table_path(out), read_manifest_file(out).identity())
    assert [len(table.packets(i)) for i in range(5)] == [40, 40, 9, 40, 5]
    assert "0 are read" in scan(run_command, path, out, "--packets").stdout


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_interrupted_at_any_moment_the_end_is_the_same(tmp_path, run_command, how):
    names = [make_video(tmp_path / f"v{i}.mp4", num_frames=60, width=320, height=240, hue=i).name for i in range(4)]
    for i in range(4, 70):  # more to read, quickly made
        names.append(shutil.copy(tmp_path / names[i % 4], tmp_path / f"v{i}.mp4").name)
    (tmp_path / names[5]).write_bytes(b"no video")
    path = write_list(tmp_path, names)
    command = [sys.executable, "-m", "c2d_fast.prepare", "scan", "--list", path, "--packets", "--out"]
    started_s = time.monotonic()
    assert subprocess.run([*command, tmp_path / "whole.npz"], cwd=ROOT, capture_output=True, check=False).returncode == 0
    whole_s = time.monotonic() - started_s
    rng = random.Random(0)
    codes = []
    for _ in range(6):
        process = subprocess.Popen(
            [*command, tmp_path / "m.npz"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        time.sleep(rng.uniform(0.1, 0.5) * whole_s)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
        codes.append(process.returncode)
        if not process.returncode:  # it was done already: from the beginning again, and sooner
            whole_s *= 0.6
            for made in tmp_path.glob("m.*"):
                made.unlink()
        if how == signal.SIGINT and process.returncode == 130:
            assert "Traceback" not in err
    assert scan(run_command, path, tmp_path / "m.npz", "--packets").returncode == 0
    for name in ("{}.npz", "{}.packets.npz"):
        one, other = ((tmp_path / name.format(stem)).read_bytes() for stem in ("whole", "m"))
        assert one == other
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".mp4") == [
        "list.txt", "m.npz", "m.packets.npz", "whole.npz", "whole.packets.npz",
    ]  # fmt: skip
    assert set(codes) & {-signal.SIGKILL, -signal.SIGINT, 130}, "no run was interrupted"


def test_a_second_scan_of_the_same_manifest_waits_outside(tmp_path, run_command):
    from c2d_fast.formats.journal import Journal

    path = make_dataset(tmp_path, count=1)
    with Journal(tmp_path / "m.npz.journal", {}, "a test"):
        done = scan(run_command, path, tmp_path / "m.npz")
    assert done.returncode == 2
    assert "another process" in done.stderr


def test_what_is_not_a_manifest_is_not_written_over(tmp_path, run_command):
    path = make_dataset(tmp_path, count=1)
    content = path.read_bytes()
    done = scan(run_command, path, path)
    assert done.returncode == 2
    assert "is not a manifest" in done.stderr
    assert path.read_bytes() == content


def test_a_table_added_later_does_not_make_a_scan_less_thorough(tmp_path, run_command):
    path = make_dataset(tmp_path, count=3)
    out = tmp_path / "m.npz"
    assert scan(run_command, path, out, "--no-packets").returncode == 0
    assert not table_path(out).exists()
    assert scan(run_command, path, out, "--depth", "packets").returncode == 0
    manifest = read_manifest_file(out)
    assert (manifest.depth == 2).all()
    table = open_table(table_path(out), manifest.identity())
    assert [len(table.packets(i)) for i in range(3)] == manifest.facts["packets"].tolist()


def test_a_table_that_goes_away_costs_time_and_nothing_else(tmp_path, run_command):
    from c2d_fast.loading import source
    from c2d_fast.loading.plan import TrainPlan
    from c2d_fast.recipe import Clip, Crop

    path = make_dataset(tmp_path, count=3)
    assert scan(run_command, path, tmp_path / "m.npz").returncode == 0
    videos = read_manifest(read_list(tmp_path / "m.npz", None, None), allow_missing=False, jobs=1).videos()
    plan = TrainPlan(videos=videos, clip=Clip(num_frames=4, interval=3), crop=Crop(), seed=0, batch_size=1)
    reader = source.ClipSource(plan=plan, decoder="ffmpeg", device="gpu", decoder_threads=1)
    assert reader.stored(0).rows is not None
    with_table = reader(source.SingleSample())
    source._open_table.cache_clear()
    table_path(tmp_path / "m.npz").unlink()
    assert reader.stored(0).rows is None
    assert all((a == b).all() for a, b in zip(reader(source.SingleSample()), with_table, strict=True))
    source._open_table.cache_clear()
