"""The local cache of parts of remote files: bounded, shared by ranks, and its bytes are the server's, whatever happens."""

import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import pytest
from cached import MOST, Server, cache_in, place, read, taken
from hypothesis import given, settings
from hypothesis import strategies as st

from c2d_fast.errors import UserError
from c2d_fast.remote import range_cache
from c2d_fast.remote.range_cache import BLOCK_BYTES, RangeCache, check_folder, open_cache

SPAWN = multiprocessing.get_context("spawn")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([5, BLOCK_BYTES, 3 * BLOCK_BYTES + 7, 300_000]), st.floats(0, 1), st.floats(0, 1))))
def test_reads_give_the_server_s_bytes_and_ask_once_for_each_block(tmp_path_factory, wanted):
    cache, seen = cache_in(tmp_path_factory.mktemp("cache")), set()
    for size, a, b in wanted:
        start, end = sorted((int(a * size), int(b * size)))
        server = Server()
        read(cache, place("a", size), start, end, server)
        blocks = {(size, block) for low, high in server.asked for block in range(low // BLOCK_BYTES, -(-high // BLOCK_BYTES))}
        assert not blocks & seen
        seen |= blocks
    assert cache.folder.is_dir()


SIZE = 5 * BLOCK_BYTES + 100


def _flip(file, map_):
    data = bytearray(file.read_bytes())
    data[2 * BLOCK_BYTES + 9] ^= 1
    file.write_bytes(data)


def _flip_in_map(file, map_):
    data = bytearray(map_.read_bytes())
    data[9] ^= 1
    map_.write_bytes(data)


def _hole(file, map_):
    data = file.read_bytes()
    with file.open("r+b") as out:
        out.seek(2 * BLOCK_BYTES)
        out.write(bytes(BLOCK_BYTES))
    assert len(data) == SIZE


@pytest.mark.parametrize(
    ("harm", "asked"),
    [
        (_flip, 1),
        (_flip_in_map, 1),
        (_hole, 1),
        (lambda file, map_: os.truncate(file, 2 * BLOCK_BYTES + 5), 1),
        (lambda file, map_: os.truncate(file, 0), 1),
        (lambda file, map_: os.truncate(map_, 6), 1),
        (lambda file, map_: map_.unlink(), 1),
        (lambda file, map_: file.unlink(), 1),
        (lambda file, map_: map_.write_bytes(os.urandom(24)), 1),
        (lambda file, map_: None, 0),
    ],
)
def test_damaged_blocks_are_read_again_and_mended(tmp_path, harm, asked):
    cache, path = cache_in(tmp_path / "cache"), place("a", SIZE)
    read(cache, path, 0, SIZE)
    name = cache._name(path)
    harm(name, name.with_suffix(".map"))
    assert read(cache, path, 0, SIZE) == asked
    assert read(cache, path, 0, SIZE) == 0


def test_another_state_or_url_is_another_file(tmp_path):
    cache = cache_in(tmp_path / "cache")
    for path in (place("a", 9000), place("a", 9000, '"2"'), place("a", 9001), place("b", 9000)):
        assert read(cache, path, 0, 9000) == 1
        assert read(cache, path, 5, 8000) == 0


def test_a_file_that_cannot_be_right_is_forgotten(tmp_path):
    range_cache.use("", 0)
    open_cache(tmp_path / "cache", 1)
    try:
        path = place("a", 9000)
        read(range_cache.in_use(), path, 0, 9000)
        range_cache.forget(path)
        assert read(range_cache.in_use(), path, 0, 9000) == 1
    finally:
        range_cache.use("", 0)


def test_what_was_used_longest_ago_goes_first(tmp_path):
    size = 10 * BLOCK_BYTES
    cache = cache_in(tmp_path / "cache", 24 * size)
    for number in range(18):
        read(cache, place(str(number), size), 0, size)
        time.sleep(0.002)
    assert read(cache, place("0", size), 0, 10) == 0  # used again
    for number in range(18, 30):
        read(cache, place(str(number), size), 0, size)
        time.sleep(0.002)
    kept = [number for number in range(30) if cache._name(place(str(number), size)).exists()]
    assert kept[0] == 0, "it was used later than its neighbours"
    assert kept[1:] == list(range(kept[1], 30))
    assert kept[1] > 5
    assert taken(cache.folder) <= 24 * size + 2**16


def test_a_smaller_limit_holds_for_what_is_there(tmp_path):
    cache = cache_in(tmp_path / "cache")
    for number in range(40):
        read(cache, place(str(number), 100_000), 0, 100_000)
    assert taken(cache.folder) > 4_000_000
    read(RangeCache(cache.folder, 2**20), place("new", 5000), 0, 5000)
    assert taken(cache.folder) <= 2**20


def test_maps_whose_copies_are_gone_are_found_and_deleted(tmp_path):
    cache = cache_in(tmp_path / "cache", 2**20)
    shard = cache.folder / "ab"
    shard.mkdir()
    for number in range(400):
        (shard / f"{number:030}.map").write_bytes(b"\1" * 8)
    read(cache, place("new", 5000), 0, 5000)
    assert taken(cache.folder) <= 2**20


def _with_a_full_disk(folder, out):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # a write beyond fails, as on a full disk
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    cache = RangeCache(Path(folder), MOST)
    out.put([read(cache, place("a", SIZE), 0, SIZE) for _ in range(2)])


def test_a_full_disk_is_no_error(tmp_path):
    check_folder(tmp_path / "cache")
    out = SPAWN.SimpleQueue()
    process = SPAWN.Process(target=_with_a_full_disk, args=(str(tmp_path / "cache"), out))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert out.get()[0] == 1
    read(RangeCache(tmp_path / "cache", MOST), place("a", SIZE), 0, SIZE)


def test_a_folder_that_cannot_be_written_or_read_any_more_is_no_error(tmp_path, monkeypatch):
    cache = cache_in(tmp_path / "cache")
    read(cache, place("a", 9000), 0, 9000)
    really = os.open

    def open_(path, flags, *more, **named):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(30, "Read-only file system")
        return really(path, flags, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(range_cache.os, "open", open_)
        assert read(cache, place("a", 9000), 0, 9000) == 0  # what is there is of use
        assert read(cache, place("b", 9000), 0, 9000) == 1
    cache.folder.rename(tmp_path / "away")
    assert read(cache, place("a", 9000), 0, 9000) == 1
    assert not cache.folder.exists()


def test_other_folders_are_refused_and_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "CACHE").write_text("somebody's")
    for name in ("mine", "other"):
        with pytest.raises(UserError, match=r"--cache .*holds other files.*give a new folder"):
            open_cache(tmp_path / name, 1)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"--cache .*cannot be written"):
        open_cache(tmp_path / "file", 1)
    with pytest.raises(UserError, match=r"--cache-gb 3: .*give its folder with --cache"):
        open_cache(None, 3)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_gigabyte_is_ten_to_the_ninth_bytes(tmp_path):
    try:
        assert open_cache(tmp_path / "cache", 1.5) == (str(tmp_path / "cache"), 1_500_000_000)
        assert open_cache(tmp_path / "cache", None) == (str(tmp_path / "cache"), 50_000_000_000)
    finally:
        range_cache.use("", 0)


def _check_folders(folder, numbers, problems):
    for number in numbers:
        try:
            check_folder(Path(folder, str(number)))
        except Exception as error:
            problems.put(repr(error))


def test_ranks_may_make_the_folder_at_the_same_time(tmp_path):
    problems = SPAWN.SimpleQueue()
    processes = [SPAWN.Process(target=_check_folders, args=(str(tmp_path), range(100), problems)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert problems.empty(), problems.get()


def test_many_files_are_not_looked_through_again_and_again(tmp_path, monkeypatch):
    """Of 240,000 files a look takes a second or two: no process does it at its start, nor for each file."""
    looks = []
    held = RangeCache._held
    monkeypatch.setattr(RangeCache, "_held", lambda self: looks.append(1) or held(self))
    check_folder(tmp_path)
    begun_s = time.monotonic()
    for rank in range(4):
        cache = RangeCache(tmp_path, 10**9)
        for number in range(250):
            read(cache, place(f"{rank} {number}", 1000), 0, 1000)
    assert len(looks) == 1  # of an empty folder, by the first of them
    assert time.monotonic() - begun_s < 10
    small = RangeCache(tmp_path, 2 * 2**20)
    for number in range(1000):
        read(small, place(f"small {number}", 1000), 0, 1000)
    assert len(looks) < 80  # each makes room for a tenth
