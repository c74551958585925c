"""Several ranks at one cache, also such that are killed."""

import asyncio
import multiprocessing
import random
import signal
import time
from pathlib import Path

import pytest
from cached import ONE_MORE, Server, content, place, read, taken

from c2d_fast.remote.range_cache import RangeCache, check_folder

SPAWN = multiprocessing.get_context("spawn")


def _hammer(folder, seed, most, seconds, problems):
    """A rank: reads parts of a few files at random, several at a time."""
    chance, cache, server = random.Random(seed), RangeCache(Path(folder), most), Server()

    async def one():
        size = chance.choice([70_000, 300_000])
        path = place(f"video {chance.randrange(60)}", size)
        start = chance.randrange(size)
        end = chance.randrange(start, min(size, start + 100_000)) + 1
        data = bytes(await cache.read(path, start, end, server.fetch))
        if data != content(path.name, size)[start:end]:
            problems.put((path.url, start, end))

    async def some():
        await asyncio.gather(*(one() for _ in range(4)))

    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        asyncio.run(some())


def _hammered(folder, most, seconds, *, kill=False, ranks=3):
    check_folder(folder)
    problems, peak = SPAWN.SimpleQueue(), 0
    processes = [
        # The first goes on until it is killed.
        SPAWN.Process(
            target=_hammer, args=(str(folder), seed, most, 120 if kill and not seed else seconds, problems), daemon=True
        )
        for seed in range(ranks)
    ]
    for process in processes:
        process.start()
    chance = random.Random(0)
    while any(process.is_alive() for process in processes):
        peak = max(peak, taken(folder))
        time.sleep(0.02)
        if kill and taken(folder) > most / 4 and chance.random() < 0.1:
            chance.choice(processes[:1] * 2 + processes).kill()
    codes = [process.exitcode for process in processes]
    assert problems.empty(), problems.get()
    return peak, codes


def test_ranks_side_by_side_read_right_bytes_and_keep_the_limit(tmp_path):
    most = 4 * 2**20
    peak, codes = _hammered(tmp_path / "cache", most, 1.2)
    assert codes == [0, 0, 0]
    assert most / 3 < peak <= most + ONE_MORE, "for what the disk says, while all of them write"


def test_a_kill_at_any_moment_leaves_right_bytes_and_the_space_is_used_again(tmp_path):
    most, folder = 4 * 2**20, tmp_path / "cache"
    codes = []
    for _ in range(2):
        peak, found = _hammered(folder, most, 1, kill=True, ranks=2)
        codes += found
        assert peak <= most + ONE_MORE
    assert -signal.SIGKILL in codes
    cache, chance = RangeCache(folder, most), random.Random(5)
    for number in range(60):
        for size in (70_000, 300_000):
            start = chance.randrange(size)
            read(cache, place(f"video {number}", size), start, min(size, start + 50_000))
    assert taken(folder) <= most + 2**16


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True])
def test_ranks_side_by_side_for_long(tmp_path, kill):
    for _ in range(8):
        peak, _ = _hammered(tmp_path / "cache", 4 * 2**20, 4, kill=kill, ranks=4)
        assert peak <= 4 * 2**20 + ONE_MORE
