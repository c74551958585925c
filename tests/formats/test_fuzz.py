"""Every kind of file that we read back, damaged in every way: it is read, or refused in one line; nothing changes unsaid."""

import contextlib
import signal

import pytest
from fuzzed import READERS
from fuzzed.inputs import one_line
from hypothesis import HealthCheck, given, settings

from c2d_fast.errors import UserError

FEW, MANY = 200, max(500, -(-10_000 // len(READERS)))
_LONGEST_CPU_S = 10
_MOST_MORE_BYTES = 2**30


def run(kind, folder, examples):
    reader = kind(folder)
    told = {"read": 0, "refused": 0}

    @settings(max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=reader.files())
    def check(data):
        reader.give(data)
        with at_most(_LONGEST_CPU_S):
            try:
                reader.read()
                told["read"] += 1
            except UserError as error:
                one_line(error)
                told["refused"] += 1

    before = peak_bytes(reset=True)
    check()
    assert peak_bytes() - before < _MOST_MORE_BYTES
    return told


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused_in_one_line(name, tmp_path):
    told = run(READERS[name], tmp_path, FEW)
    assert sum(told.values()) >= FEW // 2, told


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_ten_thousand_of_them(name, tmp_path):
    print(name, run(READERS[name], tmp_path, MANY))


@contextlib.contextmanager
def at_most(cpu_s):
    """Raises in what computes for longer; a busy machine is nothing against it."""

    def ring(number, frame):
        raise TimeoutError(f"took more than {cpu_s} s of a CPU")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def peak_bytes(*, reset=False):
    """The most memory that this process has held since the last reset."""
    if reset:
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
