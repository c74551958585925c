"""`--part I/N` and `prepare merge`: the same bytes as one command for all, whatever is killed on the way."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fork_server
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media import make_dataset, make_video
from scans import scan
from transcodes import transcode

from c2d_fast.formats.manifest_file import read_manifest_file
from c2d_fast.formats.manifest_part import part_in_name, part_path
from c2d_fast.prepare.share import rows_of_part


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A list of ten rows: videos of three lengths, a broken and a missing one, and one that stands in two rows."""
    folder = tmp_path_factory.mktemp("videos")
    for i in range(7):
        make_video(folder / f"{i}.mp4", num_frames=(12, 20, 31)[i % 3], hue=i)
    (folder / "7.mp4").write_bytes(b"no video")
    names = [*range(9), 3]  # 8 is missing
    path = folder / "list.txt"
    path.write_text("".join(f"{name}.mp4 {i % 2}\n" for i, name in enumerate(names)))
    return path


def merge(run_command, out, *more):
    return run_command("prepare", "merge", "--out", out, *more)


def one_line(done, *words):
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    for word in words:
        assert word in done.stderr


def contents(folder):
    """Returns the bytes of all files below a folder but journals, which are in the order of what was done when."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".journal")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def scanned(videos, tmp_path_factory, run_command):
    """What a scan without parts leaves."""
    folder = tmp_path_factory.mktemp("scanned")
    assert scan(run_command, videos, folder / "m.npz").returncode == 0
    return contents(folder)


@pytest.fixture(scope="module")
def three_parts(videos, tmp_path_factory, run_command):
    folder = tmp_path_factory.mktemp("parts")
    for number in (1, 2, 3):
        assert scan(run_command, videos, folder / "m.npz", "--part", f"{number}/3").returncode == 0
    return folder


@pytest.mark.parametrize("count", [1, 2, 7])
def test_parts_of_a_scan_are_joined_to_what_one_scan_writes(videos, scanned, tmp_path, run_command, count):
    out = tmp_path / "m.npz"
    for number in range(1, count + 1):
        done = scan(run_command, videos, out, "--part", f"{number}/{count}")
        assert done.returncode == 0, done.stderr
        assert f"part {number} of {count} is done" in done.stdout
    done = merge(run_command, out)
    assert done.returncode == 0, done.stderr
    after = contents(tmp_path)
    assert {name: after[name] for name in scanned} == scanned
    assert len(after) == len(scanned) * (count + 1)
    # The parts are in the merged manifest: nothing is read again.
    for part in tmp_path.glob("m.part-*"):
        part.unlink()
    assert "9 of 9 videos are known" not in (again := scan(run_command, videos, out, "--part", f"1/{count}")).stdout
    assert " 0 are read" in again.stdout
    assert merge(run_command, out).returncode == (0 if count == 1 else 2)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_parts_of_transcoding_are_joined_to_what_one_command_writes(videos, tmp_path, run_command, count):
    flags = ["--gop", 8]
    out = tmp_path / "out"
    assert transcode(run_command, videos, out, *flags).returncode == 0
    whole = contents(out)
    shutil.rmtree(out)
    for number in range(1, count + 1):
        done = transcode(run_command, videos, out, *flags, "--part", f"{number}/{count}")
        assert done.returncode == 0, done.stderr
    one_line(transcode(run_command, videos, out, *flags), "in parts: join them with prepare merge first")
    done = merge(run_command, out / "list.npz")
    assert done.returncode == 0, done.stderr
    after = contents(out)
    assert {name: after[name] for name in whole} == whole
    assert all(part_in_name(name.replace(".packets", ""), out / "list.npz") for name in after.keys() - whole.keys())
    # A command without parts goes on from there.
    assert "8 of 9 videos are done" in transcode(run_command, videos, out, *flags).stdout


def run_killed(run_command, moments, words):
    """Runs a command that is killed four times at random moments, and then to its end."""
    command = [sys.executable, "-m", "c2d_fast.prepare", *map(str, words)]
    limit_s, killed = 0.5, 0
    while killed < 4:
        process = fork_server.start(command, fork_server.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(moments.uniform(0.02, limit_s))
        process.kill()
        process.communicate(timeout=60)
        killed += process.returncode == -signal.SIGKILL
        if not process.returncode:  # done already: sooner next time
            limit_s *= 0.7
        assert process.returncode in (0, -signal.SIGKILL)
    done = run_command("prepare", *words)
    assert done.returncode == 0, done.stderr


def test_a_part_or_a_merge_that_is_killed_is_done_again_to_the_same_end(videos, scanned, tmp_path, run_command):
    out, moments = tmp_path / "m.npz", random.Random(0)
    for number in (1, 2):
        run_killed(run_command, moments, ["scan", "--list", videos, "--jobs", 1, "--part", f"{number}/2", "--out", out])
    run_killed(run_command, moments, ["merge", "--out", out])
    after = contents(tmp_path)
    assert {name: after[name] for name in scanned} == scanned
    assert not [name for name in after if "partial" in name], "what the killed have left goes away"


@pytest.mark.slow
def test_so_are_those_of_transcoding(videos, tmp_path, run_command):
    out, moments = tmp_path / "out", random.Random(1)
    words = ["transcode", "--list", videos, "--out", out]
    assert run_command("prepare", *words).returncode == 0
    whole = contents(out)
    shutil.rmtree(out)
    for number in (1, 2):
        run_killed(run_command, moments, [*words, "--part", f"{number}/2"])
    run_killed(run_command, moments, ["merge", "--out", out / "list.npz"])
    after = contents(out)
    assert {name: after[name] for name in whole} == whole
    assert not [name for name in after if "partial" in name], "what the killed have left goes away"


@pytest.fixture
def parts(three_parts, tmp_path):
    for path in three_parts.iterdir():
        shutil.copy2(path, tmp_path)
    return tmp_path / "m.npz"


def test_parts_that_do_not_make_a_whole_are_named(videos, parts, tmp_path, run_command):
    part_path(parts, 2, 3).unlink()
    one_line(merge(run_command, parts), "of its 3 parts 2 is missing")
    part_path(parts, 2, 3).with_name("m.part-2-of-3.npz.journal").touch()
    one_line(merge(run_command, parts), "of its 3 parts 2 is unfinished")
    part_path(parts, 1, 3).unlink()
    one_line(merge(run_command, parts), "of its 3 parts 2 is unfinished and 1 is missing")
    part_path(parts, 1, 2).write_bytes(part_path(parts, 3, 3).read_bytes())
    one_line(merge(run_command, parts), "beside it are parts of 2 and of 3")
    one_line(merge(run_command, tmp_path / "other.npz"), "there are no parts of it beside it, such as other.part-1-of-2.npz")


def test_parts_that_are_no_parts_of_the_same_are_named(videos, parts, tmp_path, run_command):
    names = [part_path(parts, number, 3) for number in (1, 2, 3)]
    copy = shutil.copy2(names[0], tmp_path / "copy.npz")
    one_line(merge(run_command, parts, *names, copy), "copy.npz: is part 1 of 3, and so is", names[0].name)
    other = tmp_path / "other.npz"
    assert scan(run_command, videos, other, "--part", "2/3", "--depth", "packets").returncode == 0
    foreign = part_path(other, 2, 3)
    given = names[0], foreign, names[2]
    one_line(merge(run_command, parts, *given), foreign.name, "was made with depth packets", "with full; give parts")
    shorter = tmp_path / "list.txt"
    shorter.write_text("".join(videos.read_text().splitlines(keepends=True)[:9]))
    assert scan(run_command, shorter, other, "--data-root", videos.parent, "--part", "2/3").returncode == 0
    one_line(merge(run_command, parts, *given), foreign.name, "is of the list", "9 rows", "10 rows")
    assert scan(run_command, videos, other).returncode == 0
    one_line(merge(run_command, parts, *names, other), "other.npz: is a whole manifest")
    one_line(merge(run_command, parts, tmp_path / "none.npz"), "none.npz: no such file")
    table = names[1].with_name("m.part-2-of-3.packets.npz")
    damaged = bytearray(table.read_bytes())
    damaged[200] ^= 1
    table.write_bytes(damaged)
    one_line(merge(run_command, parts), table.name, "header is damaged")
    assert not parts.exists()


def test_a_part_is_no_list_to_train_on(videos, parts, run_command):
    part = part_path(parts, 1, 3)
    assert "part 1 of 3 of list" in run_command("prepare", "show", part).stdout
    done = run_command("train", "--pipe", "tests/tiny_pipe.py", "--train-list", part, "--out", parts.parent / "run")
    one_line(done, "is part 1 of 3 of a manifest; join all parts with python -m c2d_fast.prepare merge")


def test_a_machine_without_the_files_says_so(videos, tmp_path, run_command):
    elsewhere = tmp_path / "empty"
    elsewhere.mkdir()
    for part in ("1/9", "9/9"):
        done = scan(run_command, videos, tmp_path / "m.npz", "--data-root", elsewhere, "--part", part)
        one_line(done, "none of its 10 videos is below", "correct --data-root")
    # A part of which all files are missing, of a list of which others are there, is a part as any other.
    (elsewhere / "0.mp4").write_bytes((videos.parent / "0.mp4").read_bytes())
    assert scan(run_command, videos, tmp_path / "m.npz", "--data-root", elsewhere, "--part", "9/9").returncode == 0


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2"])
def test_what_is_no_part_is_refused(part, run_command):
    done = run_command("prepare", "scan", "--list", "list.txt", "--out", "m.npz", f"--part={part}")
    one_line(done, "argument --part", "must be I/N" if part in ("3/2", "1/2/3", "1") else "whole number")


class _Sizes:
    def __init__(self, size):
        self.size = np.array(size, np.int64)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-1, 10**9)), min_size=1, max_size=80), st.integers(1, 12))
def test_shares_are_disjoint_cover_the_list_and_are_balanced(rows, count):
    sizes = dict(rows)
    videos = tuple(str(name) for name, _ in rows)
    scanned = _Sizes([sizes[name] for name, _ in rows])
    for known in (None, scanned):
        shares = [rows_of_part(videos, known, number, count) for number in range(1, count + 1)]
        assert sorted(np.concatenate(shares).tolist()) == list(range(len(rows)))
        names = [{videos[row] for row in share} for share in shares]
        assert sum(map(len, names)) == len(set(videos)), "rows of a video stay together"
        assert max(map(len, names)) - min(map(len, names)) <= 1
    of_bytes = [sum(max(sizes[int(name)], 0) for name in some) for some in names]
    assert max(of_bytes) - min(of_bytes) <= max(0, *sizes.values())


def test_a_list_with_sizes_is_shared_by_bytes(tmp_path, run_command):
    path = make_dataset(tmp_path, count=6, num_frames=(60, 10))
    assert scan(run_command, path, tmp_path / "m.npz").returncode == 0
    assert scan(run_command, tmp_path / "m.npz", tmp_path / "n.npz").returncode == 0
    whole = (tmp_path / "n.npz").read_bytes()
    (tmp_path / "n.npz").unlink()
    for number in (1, 2):
        assert scan(run_command, tmp_path / "m.npz", tmp_path / "n.npz", "--part", f"{number}/2").returncode == 0
    of_bytes = [int(read_manifest_file(part_path(tmp_path / "n.npz", number, 2)).size.sum()) for number in (1, 2)]
    assert max(of_bytes) < 2 * min(of_bytes)
    assert merge(run_command, tmp_path / "n.npz").returncode == 0
    assert (tmp_path / "n.npz").read_bytes() == whole


def test_names_of_parts_are_told_from_others():
    manifest = Path("data/train.v2.npz")
    assert part_path(manifest, 3, 12) == Path("data/train.v2.part-3-of-12.npz")
    assert part_in_name("train.v2.part-3-of-12.npz", manifest) == (3, 12)
    others = ["train.v2.part-3-of-12.packets.npz", "train.v2.part-03-of-12.npz", "train.npz", "train.v2.npz"]
    for name in [*others, "x.part-1-of-2.npz"]:
        assert part_in_name(name, manifest) is None, name
    assert os.fspath(part_path(Path("a b.npz"), 1, 1)) == "a b.part-1-of-1.npz"
