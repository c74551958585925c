"""What the machine does while a run goes on, and machines that do not tell."""

import time

from c2d_fast.reporting.gauges import Gauges


def test_gauges_read_the_machine():
    gauges = Gauges()
    deadline = time.monotonic() + 20
    while "cpu_percent" not in (figures := gauges.read()) and time.monotonic() < deadline:
        time.sleep(0.05)
    gauges.close()
    assert figures["rss_mb"] > 50
    assert 0 <= figures["cpu_percent"] <= 100
    assert figures["decoded_frames_per_s"] == 0


def test_a_machine_that_cannot_be_asked_ends_no_run(monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "Process", lambda *args: (_ for _ in ()).throw(PermissionError()))
    gauges = Gauges()
    assert set(gauges.read()) == {"decoded_frames_per_s"}
    gauges.close()


def test_cpu_percentages_are_measured_ones():
    gauges, deadline = Gauges(), time.monotonic() + 20
    while "cpu_percent" not in (figures := gauges.read()) and time.monotonic() < deadline:
        sum(range(10**6))  # busy
    gauges.close()
    assert figures["cpu_percent"] > 10
