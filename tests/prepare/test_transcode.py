"""prepare transcode, as users run it: real processes, files of every kind, interruptions at random moments."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import av
import numpy as np
import pytest
from conftest import ROOT
from media import decode_all, make_dataset, make_video, read_number
from odd_files import make_odd_files
from transcodes import transcode

from c2d_fast.formats.manifest_file import MISSING, read_manifest_file
from c2d_fast.lists.listing import read_list
from c2d_fast.prepare.encode import PARTIAL, target_size
from c2d_fast.prepare.transcode import target_names
from c2d_fast.video.examine import examine
from c2d_fast.video.reader import decode_frames


def hashes(folder):
    """Every file below a folder that a user sees, by its bytes and time."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".journal")
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.suffix != ".mp4" or path.stat().st_mtime_ns,
        )
        for path in files
    }


def test_sizes_are_few_multiples_of_16_near_the_source_s():
    rng = np.random.default_rng(0)
    found = set()
    for width, height in rng.integers(64, 2000, (5000, 2)).tolist():
        if max(width, height) > 2.4 * min(width, height):
            continue
        target = target_size(width, height, 256)
        assert not target[0] % 16
        assert not target[1] % 16
        assert min(target) <= 256
        assert min(target) <= min(width, height) + 8
        assert (target[0] > target[1]) == (width > height) or target[0] == target[1]
        if min(width, height) >= 256:
            found.add(target)
            assert 1 / 1.08 < (target[0] / target[1]) / (width / height) < 1.08
    assert len(found) <= 23
    assert target_size(340, 256, 256) == (336, 256)
    assert target_size(1920, 1080, 256) == (448, 256)
    assert target_size(1080, 1920, 256) == (256, 448)
    assert target_size(256, 256, 256) == (256, 256)
    assert target_size(10, 7, 256) == (32, 16) or target_size(10, 7, 256) == (16, 16)
    assert target_size(3000, 100, 256)[0] % 64 == 0


def test_names_stay_inside_and_apart():
    videos = ["a/b.mp4", "a/b.avi", "a/b.mkv", "../x.mp4", "/abs/x.mp4", "a/../../y.mp4", "c d.webm", "noend", "a/b.mp4", "."]
    names = target_names(videos)
    assert len(set(names.values())) == len(names) == len(set(videos))
    assert names["a/b.mp4"] == "a/b.mp4"
    assert names["c d.webm"] == "c d.mp4"
    for name in names.values():
        assert not os.path.isabs(name)
        assert ".." not in name.split("/")
        assert name.endswith(".mp4")


@pytest.fixture(scope="module")
def odd(tmp_path_factory, run_command):
    """A folder of odd files, and what became of it."""
    folder = tmp_path_factory.mktemp("odd") / "videos"
    expected = {name: reason for name, reason in make_odd_files(folder).items() if reason not in ("hangs", "SIGABRT")}
    path = folder.parent / "list.txt"
    path.write_text("".join('"{}" {}\n'.format(name.replace('"', '""'), i % 2) for i, name in enumerate(expected)))
    before = hashes(folder)
    done = transcode(run_command, path, folder.parent / "out", "--data-root", folder, "--crf", 10, "--gop", 8, "--b-frames", 2)
    assert done.returncode == 0, done.stderr
    assert hashes(folder) == before, "sources are only read"
    return folder, expected, folder.parent / "out", done


def test_good_videos_keep_every_frame_and_bad_ones_are_named(odd):
    folder, expected, out, done = odd
    manifest = read_manifest_file(out / "list.npz")
    names = target_names(expected)
    assert manifest.videos == tuple(names.values())
    for i, (name, reason) in enumerate(expected.items()):
        assert bool(manifest.reasons[i]) == bool(reason), (name, manifest.reasons[i])
        target = out / "list" / names[name]
        if reason:
            assert reason in manifest.reasons[i]
            assert not target.exists()
            continue
        facts = examine(target, "full", must_be_whole=True).facts
        numbers = [read_number(frame) for frame in decode_all(target)]
        # As it is stored, not as it is shown: numbers are written along the rows.
        assert numbers == [read_number(frame) for frame in decode_all(folder / name)], name
        assert facts.frames == manifest.facts["frames"][i]
        assert (facts.codec, facts.pix_fmt, facts.audio, facts.full_range) == ("h264", "yuv420p", False, False)
        assert facts.constant_rate
        assert facts.closed_gops
        assert facts.longest_gop <= 8
        assert not facts.width % 16
        assert not facts.height % 16
        assert manifest.mtime_ns[i] == (folder / name).stat().st_mtime_ns
    bad = sum(bool(reason) for reason in expected.values())
    assert f"failed: {bad} videos" in done.stdout
    listing = read_list(out / "list.txt", out / "list", 2)
    assert len(listing) == len(expected) - bad
    assert listing.sha256 == manifest.list_sha256


@pytest.mark.parametrize("name", ["yuvj420p.mp4", "yuv444p.mp4", "yuv420p10le.mp4", "yuv422p.mp4", "mjpeg.avi", "plain 0.mp4"])
def test_colours_stay(odd, name):
    folder, expected, out, _ = odd
    one = decode_frames(folder / name, np.arange(20)).astype(np.int16)
    other = decode_frames(out / "list" / target_names(expected)[name], np.arange(20)).astype(np.int16)
    assert np.abs(one - other).mean() < 1.5


def test_colour_tags_stay(tmp_path, run_command):
    make_video(tmp_path / "a.mp4", num_frames=9, **{"x264-params": "colormatrix=bt709"})
    (tmp_path / "l.txt").write_text("a.mp4 0\n")
    assert transcode(run_command, tmp_path / "l.txt", tmp_path / "out", "--crf", 5).returncode == 0
    assert examine(tmp_path / "out/l/a.mp4").facts.matrix == 1
    one, other = (decode_frames(tmp_path / name, np.arange(9)).astype(np.int16) for name in ("a.mp4", "out/l/a.mp4"))
    assert np.abs(one - other).mean() < 1


@pytest.mark.parametrize(
    ("flags", "gop", "disposable"),
    [([], 1, None), (["--gop", 6], 6, 0), (["--gop", 6, "--b-frames", 2], 6, 15), (["--codec", "hevc", "--gop", 5], 5, 0),
     (["--codec", "hevc"], 1, None)],
)  # fmt: skip
def test_key_frames_and_b_frames_are_as_asked_for(tmp_path, run_command, flags, gop, disposable):
    make_video(tmp_path / "a.mp4", num_frames=30, width=320, height=240)
    (tmp_path / "l.txt").write_text("a.mp4 0\n")
    done = transcode(run_command, tmp_path / "l.txt", tmp_path / "out", "--short-side", 128, *flags)
    assert done.returncode == 0, done.stderr
    facts = examine(tmp_path / "out/l/a.mp4", "full").facts
    assert (facts.width, facts.height, facts.codec) == (176, 128, "hevc" if "hevc" in flags else "h264")
    assert (facts.longest_gop, facts.key_frames) == (gop, 30 // gop)
    if disposable is not None:
        assert abs(facts.disposable - disposable) <= 5


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_interrupted_at_any_moment_the_end_is_the_same(tmp_path, run_command, how):
    for i in range(3):
        make_video(tmp_path / f"data/{i}.mp4", num_frames=40, width=320, height=240, hue=i)
    names = [f"{i}.mp4" for i in range(3)]
    for i in range(3, 20):  # more to do, quickly made
        names.append(shutil.copy2(tmp_path / "data" / names[i % 3], tmp_path / f"data/{i}.mp4").name)
    (tmp_path / "data/5.mp4").write_bytes(b"no video")
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{name} {i % 2}\n" for i, name in enumerate([*names, "missing.mp4"])))
    flags = ["--data-root", tmp_path / "data", "--gop", 8, "--b-frames", 2]
    out = tmp_path / "out"
    command = [sys.executable, "-m", "c2d_fast.prepare", "transcode", "--list", path, *flags, "--out"]
    command = list(map(str, command))
    started_s = time.monotonic()
    assert subprocess.run([*command, tmp_path / "whole"], cwd=ROOT, capture_output=True, check=False).returncode == 0
    whole_s = time.monotonic() - started_s
    rng = random.Random(1)
    codes = []
    for _ in range(6):
        process = subprocess.Popen([*command, out], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(rng.uniform(0.1, 0.5) * whole_s)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
        codes.append(process.returncode)
        if process.returncode == 130:
            assert err == "interrupted\n"
        for file in (out / "list").rglob("*.mp4"):
            if PARTIAL not in file.name:
                assert examine(file, "full", must_be_whole=True).facts.frames == 40, "under its name a file is whole"
    assert set(codes) & {-signal.SIGKILL, -signal.SIGINT, 130}, "no run was interrupted"
    assert transcode(run_command, path, out, *flags).returncode == 0
    one, other = hashes(tmp_path / "whole"), hashes(out)
    assert {name: value for name, value in one.items() if name != "list.npz"} == {
        name: value for name, value in other.items() if name != "list.npz"
    }
    manifests = [read_manifest_file(folder / "list.npz") for folder in (tmp_path / "whole", out)]
    assert manifests[0].identity() == manifests[1].identity()
    assert manifests[0].reasons == manifests[1].reasons
    assert manifests[0].reasons[-1] == MISSING


def test_only_what_is_new_or_has_changed_is_done_again(tmp_path, run_command):
    path = make_dataset(tmp_path / "data", count=3, num_frames=(20,))
    assert transcode(run_command, path, tmp_path / "out").returncode == 0
    before = hashes(tmp_path / "out")
    assert "3 of 3 videos are done" in transcode(run_command, path, tmp_path / "out").stdout
    assert hashes(tmp_path / "out") == before
    make_video(tmp_path / "data/some videos/clip 1.mp4", num_frames=9)
    (tmp_path / "out/list/some videos/clip 2.mp4").unlink()
    assert "1 of 3 videos are done" in transcode(run_command, path, tmp_path / "out").stdout
    assert read_manifest_file(tmp_path / "out/list.npz").facts["frames"].tolist() == [20, 9, 20]
    other = transcode(run_command, path, tmp_path / "out", "--gop", 4)
    assert other.returncode == 2
    assert "other options (gop 1)" in other.stderr


def test_a_manifest_s_broken_videos_are_not_tried(tmp_path, run_command):
    path = make_dataset(tmp_path / "data", count=3, num_frames=(20,))
    (tmp_path / "data/some videos/clip 1.mp4").write_text("no video")
    assert run_command("prepare", "scan", "--list", path, "--out", tmp_path / "m.npz").returncode == 0
    done = transcode(run_command, tmp_path / "m.npz", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "1 of 3 videos are done" in done.stdout
    manifest = read_manifest_file(tmp_path / "out/m.npz")
    assert [bool(reason) for reason in manifest.reasons] == [False, True, False]
    assert manifest.labels.tolist() == [0, 1, 0]


def test_nothing_is_written_among_foreign_files_or_on_a_full_disk(tmp_path, run_command):
    path = make_dataset(tmp_path / "data", count=1, num_frames=(5,))
    foreign = tmp_path / "out/list"
    foreign.mkdir(parents=True)
    (foreign / "mine.txt").write_text("mine")
    done = transcode(run_command, path, tmp_path / "out")
    assert done.returncode == 2
    assert "not from this command" in done.stderr
    assert [file.name for file in (tmp_path / "out").rglob("*") if file.is_file()] == ["mine.txt"]
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import shutil; shutil.disk_usage = lambda path: shutil._ntuple_diskusage(9, 9, 9)\n"
    )
    done = transcode(run_command, path, tmp_path / "other", env={"PYTHONPATH": str(site)})
    assert done.returncode == 2
    assert "0.00 GB are free" in done.stderr
    assert transcode(run_command, path, tmp_path / "other", "--no-space-check", env={"PYTHONPATH": str(site)}).returncode == 0


def test_a_full_disk_stops_the_command_and_not_the_videos(tmp_path, run_command):
    path = make_dataset(tmp_path / "data", count=4, num_frames=(20,))
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import errno, os, sys\n"
        "def full(*args, **kwargs): raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "if '--multiprocessing-fork' in sys.argv: os.utime = full\n"
    )
    done = transcode(run_command, path, tmp_path / "out", env={"PYTHONPATH": str(site)})
    assert done.returncode == 2
    assert "disk is full" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert transcode(run_command, path, tmp_path / "out").returncode == 0
    assert not any(read_manifest_file(tmp_path / "out/list.npz").reasons)


def test_when_nothing_can_be_done_it_says_so(tmp_path, run_command):
    (tmp_path / "a.mp4").write_text("no video")
    (tmp_path / "l.txt").write_text("a.mp4 0\n")
    done = transcode(run_command, tmp_path / "l.txt", tmp_path / "out")
    assert done.returncode == 2
    assert "none of its 1 videos" in done.stderr


def test_rotation_stays_a_tag(odd):
    folder, expected, out, _ = odd
    with av.open(str(out / "list" / target_names(expected)["rotated.mp4"])) as container:
        assert next(container.decode(video=0)).rotation == examine(folder / "rotated.mp4").facts.rotation
