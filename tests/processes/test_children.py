import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from c2d_fast.processes.children import LostItem, run_in_children


def work(item, tick):
    """For children: does what the item says."""
    if item == "spin":
        while True:
            pass
    if item == "slow":
        for _ in range(30):
            time.sleep(0.1)
            tick()
    if isinstance(item, tuple) and not os.path.exists(item[1]):  # killed the first time, as for want of memory
        open(item[1], "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "exit":
        os._exit(3)
    if item == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "raise":
        raise ValueError("a mistake of ours")
    return f"{item} done"


def test_children_that_hang_or_crash_are_named_and_replaced():
    items = ["a", "spin", "b", "exit", "c", "kill", "slow", "d"]
    results = dict(run_in_children(work, items, jobs=2, time_limit_s=2.0))
    assert {item for item, result in results.items() if not isinstance(result, LostItem)} == {"a", "b", "c", "d", "slow"}
    assert "hangs" in results["spin"].reason
    assert "exit code 3" in results["exit"].reason
    assert "SIGKILL" in results["kill"].reason
    assert results["slow"] == "slow done"  # longer than the limit, but it gets on
    with pytest.raises(ValueError, match="a mistake"):
        list(run_in_children(work, ["raise"], jobs=1, time_limit_s=5))


def test_an_item_whose_process_was_killed_once_is_tried_again(tmp_path):
    item = ("second time", str(tmp_path / "tried"))
    assert [result for _, result in run_in_children(work, [item], jobs=1, time_limit_s=5)] == [f"{item} done"]


CALLS = """
import sys
sys.path[:0] = ["tests/processes", "tests", "."]
import test_children
if __name__ == "__main__":
    test_children.{}()
"""


def test_standing_still_together_is_not_hanging():
    code = CALLS.format("be_stopped")
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "begun\n"
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(4)
    os.killpg(process.pid, signal.SIGCONT)
    assert "slow done" in process.communicate(timeout=60)[0]


def be_stopped():
    """Is stopped while an item is worked on, for longer than the time limit."""
    print("begun", flush=True)
    print(dict(run_in_children(work, ["slow", "slow"], jobs=1, time_limit_s=2)))


def test_children_end_with_their_parent():
    code = CALLS.format("be_killed")
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    for _ in range(100):
        if not os.path.exists(f"/proc/{child}"):
            return
        time.sleep(0.1)
    raise AssertionError("a child outlived its parent")


def be_killed():
    """Prints a child's process id, and waits in it."""
    for _, pid in run_in_children(own_pid, [0, 1], jobs=1, time_limit_s=60):
        print(pid, flush=True)


def own_pid(item, tick):
    if item:
        time.sleep(60)
    return os.getpid()
