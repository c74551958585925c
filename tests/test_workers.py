"""Loader workers that die, sources that hang, memory that does not suffice."""

import json
import os
import subprocess
import sys

import pytest
from runs import (
    FAULTY,
    ROOT,
    batches,
    flags,
    last,
    one_line,
    run,
    same_weights,
)


def test_a_killed_worker_is_named_and_replaced(eight_videos, whole_run, tmp_path):
    words = flags(eight_videos, tmp_path / "run", "--pipe", FAULTY)
    done = run(*words, env={"FAULT": json.dumps({"kind": "die once", "video": 3, "mark": str(tmp_path / "mark")})})
    assert done.returncode == 0, done.stderr
    assert "warning: loader workers ended: process" in done.stdout
    assert "by SIGKILL (perhaps for want of memory); starting new ones" in done.stdout
    assert same_weights(last(tmp_path / "run"), last(whole_run))
    assert batches(tmp_path / "run") == batches(whole_run)


HOLDER = """
import multiprocessing, os, signal, time
def hold(lock):
    lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)
class Queue: pass
if __name__ == "__main__":
    from c2d_fast import orphaned_locks
    orphaned_locks._PATIENCE_S = 0.5
    context = multiprocessing.get_context("spawn")
    pipeline, pool, queue = Queue(), Queue(), Queue()
    queue.lock, pool._result_queue, pipeline._py_pool = context.Lock(), queue, Queue()
    queue.cv_not_empty = context.Condition(queue.lock)
    pipeline._py_pool.pool = pool
    worker = context.Process(target=hold, args=(queue.lock,))
    worker.start()
    orphaned_locks.guard(pipeline, [worker], (0,))
    worker.join()
    print(queue.lock.acquire(timeout=0.1), queue.lock.acquire(timeout=10), queue.lock._semlock._is_mine())
"""


def test_a_lock_that_a_killed_worker_holds_is_let_go_of(tmp_path):
    (tmp_path / "holder.py").write_text(HOLDER)
    done = subprocess.run([sys.executable, tmp_path / "holder.py"], capture_output=True, text=True, timeout=60, check=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.stdout.split() == ["False", "True", "True"], done.stderr


def test_workers_that_die_again_and_again_end_the_run(eight_videos, tmp_path):
    done = run(*flags(eight_videos, tmp_path / "run", "--pipe", FAULTY), env={"FAULT": json.dumps({"kind": "die", "video": 3})})
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
    done = run(*words, ranks=2, env={"FAULT": json.dumps({"kind": "hang", "video": 3})})
    assert done.returncode == 1
    assert "exitcode  : 75" in done.stderr
    assert "no progress for 6 s" in done.stderr


def test_too_little_memory_is_one_line(eight_videos, tmp_path):
    fault = {"kind": "out of memory", "calls": [2]}
    done = run(*flags(eight_videos, tmp_path / "run", "--pipe", FAULTY), env={"FAULT": json.dumps(fault)})
    one_line(done, 2, "out of memory on cpu in step 2 with --batch-size 2", "--batch-size 1 --accumulate 2")
    assert last(tmp_path / "run")["progress"]["step"] == 0
