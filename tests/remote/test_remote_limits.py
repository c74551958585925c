"""What requests take and leave behind: memory, connections, threads, processes; and how soon a command ends while they hang."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from clip_loaders import digests
from proxied import DATA, Site, is_alive, script
from runs import PIPE, end, flags, run, start, wait_for_steps
from scans import scan

from c2d_fast.remote import event_loop, range_cache, ranges, requests
from c2d_fast.remote.ranges import ask_ahead, read_parts
from c2d_fast.remote.remote_path import RemotePath
from c2d_fast.remote.throttle import MOST_IN_FLIGHT
from c2d_fast.remote.transfers import with_state

pytest.importorskip("obstore")
LIMIT_S = 2.0


@pytest.fixture(scope="module")
def site(tmp_path_factory, run_command):
    with contextlib.ExitStack() as keeper:
        site = Site(tmp_path_factory.mktemp("site"), keeper)
        done = scan(run_command, site.list, site.manifest)
        assert done.returncode == 0, done.stderr
        yield site


@pytest.fixture(autouse=True)
def sound(site):
    yield
    ranges.forget_ahead()
    range_cache.use("", 0)
    site.proxy.clear()


@pytest.fixture
def plain(site):
    return with_state(RemotePath(f"{site.proxy.url}/plain"))


def children():
    """Processes of this one, but for those that stay: Python's own, of which workers may be forks."""
    own = {p.pid for p in psutil.Process().children() if re.search("resource_tracker|forkserver import", " ".join(p.cmdline()))}
    return {p.pid for p in psutil.Process().children(recursive=True)} - own


@pytest.mark.parametrize("how", ["break", "exception", "close"])
def test_no_request_and_no_process_is_left_of_a_loader(site, how):
    before, threads = children(), threading.active_count()
    site.proxy.forget()
    site.proxy.fault("hang", paths="clip%20[4-7]")
    loader = site.loader(train=False)
    try:
        with loader:
            batches = iter(loader)
            next(batches)
            site.wait_for_requests(lambda number: number > 1)
            assert len(children() - before) == 2
            if how == "exception":
                raise KeyError(how)
            if how == "break":
                batches.close()
    except KeyError:
        pass
    site.wait_for_requests(lambda number: number == 0)
    assert site.proxy.open().connections <= 1  # of this process
    deadline_s = time.monotonic() + 10
    while children() - before or threading.active_count() > threads:
        assert time.monotonic() < deadline_s, (children() - before, threading.enumerate())
        time.sleep(0.05)


def test_requests_ahead_that_nobody_reads_are_ended(site, plain):
    site.proxy.fault("hang")
    for number in range(5):
        ask_ahead(plain, [(number, number + 10), (500_000 + number, 500_100)])
    site.wait_for_requests(lambda number: number == 10)
    ranges.forget_ahead()
    site.wait_for_requests(lambda number: number == 0)
    for number in range(ranges._MOST_AHEAD + 20):
        ask_ahead(plain, [(number, number + 10)])
    assert len(ranges._ahead(os.getpid())) == ranges._MOST_AHEAD
    ranges.forget_ahead()
    site.wait_for_requests(lambda number: number == 0)
    site.wait_for_requests(lambda number: number == 0 and requests._throttle(os.getpid())._in_flight == 0)


def test_an_exception_while_it_is_waited_ends_the_requests(site, plain):
    site.proxy.fault("hang")

    def heartbeat():
        if site.proxy.open().requests:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        event_loop.run(ranges.read(plain, [(0, 10), (500_000, 500_010)]), heartbeat)
    site.wait_for_requests(lambda number: number == 0)


def test_a_fork_says_that_it_cannot_and_does_not_hang(plain):
    assert bytes(read_parts(plain, [(0, 9)])[0]) == DATA[:9]
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(20)
        try:
            read_parts(plain, [(0, 9)])
        except RuntimeError as error:
            os.write(theirs, str(error).encode())
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as file:
        said = file.read()
    os.waitpid(child, 0)
    assert b"start it by spawn or forkserver" in said


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_an_interpreter_that_ends_with_requests_in_flight_says_nothing(site, times):
    for number in range(times):
        site.proxy.clear()
        site.proxy.fault("hang" if number % 2 == 0 else "delay", paths="plain", seconds=0.3)
        process = script(
            """
            import time
            from c2d_fast.remote.ranges import ask_ahead
            from c2d_fast.remote.remote_path import FileState, RemotePath
            for number in range(60):
                ask_ahead(RemotePath({url!r}, FileState({size}, -1)), [(number, number + 9)])
            time.sleep(0.4)
            print("done", time.monotonic())
            """,
            url=f"{site.proxy.url}/plain",
            size=len(DATA),
        )
        stdout, stderr = process.communicate(timeout=60)
        assert (process.returncode, stderr) == (0, "")
        assert time.monotonic() - float(stdout.split()[1]) < LIMIT_S
        site.wait_for_requests(lambda number: number == 0)


def ends_in_time(site, process, number, codes):
    """Sends a signal to all of a process group while its requests hang; returns what was said, and after how long it ended."""
    site.wait_for_requests(lambda requests: requests > 0)
    time.sleep(0.3)
    begun_s = time.monotonic()
    os.killpg(process.pid, number)
    stdout, stderr = process.communicate(timeout=60)
    took_s = time.monotonic() - begun_s
    print(f"ended {took_s:.2f} s after {number}")
    assert process.returncode in codes, stdout + stderr
    assert took_s < LIMIT_S, stderr
    while any(os.getpgid(pid) == process.pid for pid in psutil.pids() if is_alive(pid)):  # workers end with their parent
        assert time.monotonic() - begun_s < 10
        time.sleep(0.02)
    site.wait_for_requests(lambda requests: requests == 0)
    return stdout, stderr


SIGNALS = [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_training_run_ends_in_time_while_requests_hang(site, tmp_path, number):
    out = tmp_path / "run"
    process = start(*flags(site.manifest, out, epochs=200))
    try:
        wait_for_steps(process, out, 2)
        site.proxy.fault("hang")
        _, stderr = ends_in_time(site, process, number, [128 + number])
    finally:
        end(process)
    (line,) = stderr.splitlines()
    assert "last.pt holds step " in line


@pytest.mark.parametrize("number", SIGNALS)
def test_a_run_that_starts_ends_in_time_while_requests_hang(site, tmp_path, number):
    site.proxy.fault("hang")
    process = start(*flags(site.list, tmp_path / "run"))
    try:
        _, stderr = ends_in_time(site, process, number, [128 + number])
    finally:
        end(process)
    assert len(stderr.splitlines()) == 1


@pytest.mark.parametrize("number", SIGNALS)
def test_a_scan_ends_in_time_while_requests_hang(site, tmp_path, number):
    import fork_server

    site.proxy.fault("hang", paths="clip")
    words = [sys.executable, "-m", "c2d_fast.prepare", "scan", "--list", site.list, "--out", str(tmp_path / "list.npz")]
    process = fork_server.start(words, fork_server.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                start_new_session=True)  # fmt: skip
    try:
        _, stderr = ends_in_time(site, process, number, [128 + number])
    finally:
        end(process)
    assert "Traceback" not in stderr


@pytest.fixture(scope="module")
def checkpoint(site, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    done = run(*flags(site.manifest, out, epochs=1))
    assert done.returncode == 0, done.stderr
    return out / "last.pt"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_test_ends_in_time_while_requests_hang(site, checkpoint, number):
    import fork_server

    site.proxy.fault("hang", paths="clip")
    words = [sys.executable, "-m", "c2d_fast.test", "--pipe", str(PIPE), "--list", str(site.manifest), "--checkpoint"]
    process = fork_server.start([*words, str(checkpoint), "--workers", "1"], fork_server.environment(), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip
    try:
        _, stderr = ends_in_time(site, process, number, [128 + number])
    finally:
        end(process)
    assert "Traceback" not in stderr


@pytest.mark.parametrize("number", SIGNALS)
def test_a_script_with_a_loader_ends_in_time_while_requests_hang(site, number):
    site.proxy.fault("hang", paths="clip")
    process = script(
        """
        from c2d_fast import ClipLoader, Dense
        for batch in ClipLoader({manifest!r}, clip=Dense(2, 1), batch_size=2, workers=2, verbose=False):
            pass
        """,
        manifest=str(site.manifest),
    )
    try:
        ends_in_time(site, process, number, [130, 1, -number])
    finally:
        end(process)


def usage(pids):
    processes = [psutil.Process(pid) for pid in pids]
    return [(p.memory_full_info().uss / 2**20, p.num_fds(), p.num_threads()) for p in processes]


@pytest.mark.slow
def test_memory_files_and_connections_stay_flat_over_5000_clips(site):
    before = children()
    with site.loader(train=True) as loader:
        seen, clips, epoch = [], 0, 0
        loader.start()
        assert len(children() - before) == 2
        while clips < 5000:
            for batch in loader.epoch(epoch):
                clips += len(batch.clip)
            epoch += 1
            if epoch % 25 == 0:
                seen.append((clips, usage([os.getpid(), *sorted(children() - before)]), site.proxy.open()))
    for line in seen[:: max(len(seen) // 6, 1)]:
        print(line)
    settled, last = seen[len(seen) // 4], seen[-1]
    for (rss, fds, threads), (rss_last, fds_last, threads_last) in zip(settled[1], last[1], strict=True):
        assert rss_last < rss + 12
        assert fds_last <= fds + 2
        assert threads_last <= max(threads, 2 * MOST_IN_FLIGHT), "the library's come and go, for each connection that is opened"
    assert last[2].connections <= settled[2].connections + 4
    site.wait_for_requests(lambda number: number == 0)


def test_an_epoch_that_was_read_before_comes_from_the_cache(site, tmp_path):
    given = {"train": True, "cache": tmp_path / "cache", "cache_gb": 1}
    with site.loader(**given) as loader:
        first = digests(loader.epoch(0))
    site.proxy.forget()
    site.proxy.fault("hang")
    with site.loader(**given) as loader:
        assert digests(loader.epoch(0)) == first
    assert [request for request in site.proxy.requests() if request.method == "GET"] == []
