import os
import signal
import time

import pytest

from c2d_fast.children import Lost, run_in_children


def work(item, tick):
    """For children: does what the item says."""
    if item == "spin":
        while True:
            pass
    if item == "slow":
        for _ in range(15):
            time.sleep(0.1)
            tick()
    if item == "exit":
        os._exit(3)
    if item == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "raise":
        raise ValueError("a mistake of ours")
    return f"{item} done"


def test_children_that_hang_or_crash_are_named_and_replaced():
    items = ["a", "spin", "b", "exit", "c", "kill", "slow", "d"]
    results = dict(run_in_children(work, items, jobs=2, time_limit_s=1.0))
    assert {item for item, result in results.items() if not isinstance(result, Lost)} == {"a", "b", "c", "d", "slow"}
    assert "hangs" in results["spin"].reason
    assert "exit code 3" in results["exit"].reason
    assert "SIGKILL" in results["kill"].reason
    assert results["slow"] == "slow done"  # longer than the limit, but it gets on
    with pytest.raises(ValueError, match="a mistake"):
        list(run_in_children(work, ["raise"], jobs=1, time_limit_s=5))
