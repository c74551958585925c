"""Processes that read ahead: the right samples in their order, whichever process is killed at whatever moment."""

import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from c2d_fast.loading.sample_memory import SampleMemory
from c2d_fast.loading.worker_pool import SampleLostError, WorkerPool

BATCH = 4


@dataclass(frozen=True)
class Numbers:
    """A source that gives its sample's number, and arrays of many sizes."""

    delay_s: float = 0.0
    fatal: int = -1
    lives: int = 0
    """How many processes the fatal sample ends, once each; 0: every one."""
    marks: str = ""
    raises: int = -1

    def __call__(self, place):
        number = BATCH * place.iteration + place.idx_in_batch
        if number == self.fatal:
            marks = len(os.listdir(self.marks))
            if not self.lives or marks < self.lives:
                (Path(self.marks) / str(marks)).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if number == self.raises:
            raise KeyError("a fault of the source")
        time.sleep(self.delay_s)
        size = 1 + (number * 7919) % 50_000
        return np.array(number), np.arange(size, dtype=np.int32) + number, np.zeros((0, 3), np.float32)


@pytest.fixture
def pools():
    made = []

    def make(source, workers=2, held=3):
        made.append(WorkerPool(source, workers=workers, batch_size=BATCH, held=held))
        made[-1].start()
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def pids(pool):
    return [worker.process.pid for worker in pool._workers]


def check(batch, iteration):
    numbers, arrays, empty = batch
    assert [int(number) for number in numbers] == [BATCH * iteration + n for n in range(BATCH)]
    for number, array in zip(numbers, arrays, strict=True):
        assert array.dtype == np.int32
        assert np.array_equal(array, np.arange(1 + (int(number) * 7919) % 50_000) + int(number))
    assert all(array.shape == (0, 3) and array.dtype == np.float32 for array in empty)


def test_batches_come_in_order_and_stay_as_they_are_while_they_are_held(pools):
    pool = pools(Numbers())
    held = []
    for iteration in range(12):
        held = [*held[-2:], (iteration, pool.read_batch())]
        for of, batch in held:
            check(batch, of)


def test_no_batch_is_lost_to_kills_at_random_moments(pools):
    pool, moments = pools(Numbers(delay_s=0.002), workers=3), random.Random(3)
    kills = 0
    for iteration in range(40):
        if iteration % 4 == 1:
            time.sleep(moments.random() * 0.05)
            os.kill(moments.choice(pids(pool)), signal.SIGKILL)
            kills += 1
        check(pool.read_batch(), iteration)
    # All at once, and between batches, when nothing is to be done.
    time.sleep(0.5)
    for pid in pids(pool):
        os.kill(pid, signal.SIGKILL)
    check(pool.read_batch(), 40)
    for iteration in range(41, 48):
        check(pool.read_batch(), iteration)
    deaths = pool.pop_deaths()
    assert len(deaths) == kills + 3
    assert all(" by SIGKILL" in death for death in deaths)
    assert pool.pop_deaths() == []


def test_a_sample_that_ends_two_processes_is_read_by_a_third(pools, tmp_path):
    pool = pools(Numbers(fatal=6, lives=2, marks=str(tmp_path)))
    for iteration in range(5):
        check(pool.read_batch(), iteration)
    assert len(pool.pop_deaths()) == 2


def test_a_sample_that_ends_every_process_is_named(pools, tmp_path):
    pool = pools(Numbers(fatal=6, marks=str(tmp_path)))
    check(pool.read_batch(), 0)
    with pytest.raises(SampleLostError) as caught:
        pool.read_batch()
    assert (caught.value.sample.iteration, caught.value.sample.idx_in_batch) == (1, 2)
    assert len(caught.value.deaths) == 3


def test_what_the_source_raises_comes_out_where_its_batch_is_read(pools):
    pool = pools(Numbers(raises=5))
    check(pool.read_batch(), 0)
    with pytest.raises(RuntimeError, match="a fault of the source"):
        pool.read_batch()
    assert pool.pop_deaths() == []


@dataclass(frozen=True)
class Stillborn:
    """Cannot be unpickled in another process."""

    def __setstate__(self, state):
        if multiprocessing.parent_process():
            os._exit(7)

    def __getstate__(self):
        return {"some": "thing"}


def test_processes_that_do_not_even_start_end_the_wait(pools):
    with pytest.raises(SampleLostError, match="exit code 7"):
        pools(Stillborn()).read_batch()


def test_a_closed_pool_leaves_no_process_and_its_batches(pools):
    pool = pools(Numbers())
    batch = pool.read_batch()
    processes = [worker.process for worker in pool._workers]
    pool.close()
    assert not any(process.is_alive() for process in processes)
    check(batch, 0)


def test_memory_takes_what_is_written_and_not_what_is_reserved():
    memory = SampleMemory(1000)
    layout = memory.write(999, [np.arange(5), np.ones((3, 2), bool), np.array(2.5)])
    first, second, third = memory.read(999, layout)
    assert np.array_equal(first, np.arange(5))
    assert second.all()
    assert second.shape == (3, 2)
    assert float(third) == 2.5
    large = memory.write(999, [np.full(1_000_000, 7, np.uint8)])
    assert memory.read(999, large)[0].sum() == 7_000_000
    assert sum(os.fstat(fd).st_blocks for fd in memory._fds) * 512 < 2_000_000
    # Slots that share a file are not in each other's way.
    layouts = [memory.write(slot, [np.full(9, slot)]) for slot in (3, 131, 259)]
    for slot, layout in zip((3, 131, 259), layouts, strict=True):
        assert (memory.read(slot, layout)[0] == slot).all()
