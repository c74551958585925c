"""Whole runs whose server fails: now and then, for a while or for good; or whose objects change under them."""

import contextlib
import json
import os
import re
import time
from pathlib import Path

import pytest
from fault_proxy import FaultProxy
from http_server import HttpServer
from media import make_dataset
from runs import end, flags, last, run, start, undisturbed, wait_for_steps
from scans import scan

from c2d_fast.errors import EXIT_START_AGAIN

pytest.importorskip("obstore")
PIPE = Path(__file__).parents[1] / "impatient_pipe.py"


class Site:
    """Eight videos on a web server, and a manifest of them that says where packets lie."""

    def __init__(self, folder, keeper):
        self.folder = folder / "data"
        make_dataset(self.folder, count=8, num_frames=(20, 31))
        self.server = keeper.enter_context(HttpServer(self.folder))
        self.proxy = keeper.enter_context(FaultProxy(self.server.url, seed=4))
        self.list, self.manifest = f"{self.proxy.url}/list.txt", folder / "list.npz"

    def video(self, number):
        return self.folder / f"some videos/clip {number}.mp4"


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
    site.proxy.clear()
    if site.server._process is None:
        site.server.start()


def words(site, out, *more, **named):
    return flags(site.manifest, out, "--pipe", PIPE, "--checkpoint-steps", 1, *more, **named)


@contextlib.contextmanager
def running(site, out, *more, steps=1):
    """A run that has taken a step."""
    process = start(*words(site, out, *more))
    try:
        wait_for_steps(process, out, steps)
        yield process
    finally:
        end(process)


def until_it_waits(process):
    told = ""
    for line in process.stdout:
        told += line
        if line.startswith("waiting for storage: "):
            return line
    raise AssertionError(told + process.stderr.read())


def check_secretless(text, out):
    assert "Traceback" not in text
    assert "reqwest" not in text
    assert "Generic" not in text


@pytest.mark.parametrize("percent", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_requests_that_fail_at_random_change_nothing(site, whole_run, tmp_path, percent):
    for kind in ("500", "503", "cut", "short", "ignore-range"):
        site.proxy.fault(kind, percent=percent)
    site.proxy.forget()
    done = run(*words(site, tmp_path / "run"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(bool(request.fault) for request in site.proxy.requests()) > 3
    assert undisturbed(whole_run, tmp_path / "run")
    check_secretless(done.stdout + done.stderr, tmp_path / "run")


@pytest.mark.parametrize("seconds", [1, pytest.param(25, marks=pytest.mark.slow)])
def test_a_server_that_is_started_again_in_mid_run(site, whole_run, tmp_path, seconds):
    with running(site, tmp_path / "run") as process:
        site.server.stop()
        line = until_it_waits(process)
        time.sleep(seconds)
        site.server.start()
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "storage is back after " in stdout
    assert "cannot be read (" in line
    assert undisturbed(whole_run, tmp_path / "run")
    check_secretless(line + stdout + stderr, tmp_path / "run")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        pytest.param("403", r"access denied \(403\): credentials are missing, wrong or expired"),
        pytest.param("500", r"the server failed \(500\)", marks=pytest.mark.slow),
        pytest.param("cut", "cut off while it was sent|no connection", marks=pytest.mark.slow),
    ],
)
def test_a_server_that_stays_away_ends_the_run_which_is_resumed(site, whole_run, tmp_path, kind, says):
    out = tmp_path / "run"
    with running(site, out, "--stall-minutes", 0.1) as process:
        site.proxy.fault(kind)
        begun_s = time.monotonic()
        _, stderr = process.communicate(timeout=120)
        took_s = time.monotonic() - begun_s
    assert process.returncode == EXIT_START_AGAIN, stderr
    (line,) = stderr.splitlines()
    assert line.startswith(f"storage: {site.proxy.url}/some videos/clip ")
    assert re.search(rf"cannot be read \(({says})\), for 6 s by now; no video is quarantined for that: start again with", line)
    assert line.endswith(f"last.pt holds step {last(out)['progress']['step']}")
    assert 6 < took_s < 20
    assert not (out / "quarantine.jsonl").exists()
    check_secretless(stderr, out)
    site.proxy.clear()
    done = run(*words(site, out, "--resume", "auto"))
    assert done.returncode == 0, done.stderr
    assert undisturbed(whole_run, out)


def entries(out):
    return [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()[1:]]


@pytest.mark.parametrize(("change", "says"), [
    ("replaced", "has changed since it was examined: its ETag is another"),
    pytest.param("longer", "has changed since it was examined: ", marks=pytest.mark.slow),
    pytest.param("deleted", "cannot be read (no such object (404))", marks=pytest.mark.slow),
])  # fmt: skip
def test_an_object_that_changes_in_mid_run_is_named_and_left_out(site, tmp_path, change, says):
    out, victim = tmp_path / "run", site.video(6)
    content, state = victim.read_bytes(), victim.stat()
    try:
        with running(site, out, "--max-bad-videos", 1, "--allow-missing") as process:
            victim.unlink()
            if change != "deleted":
                victim.write_bytes(content + b"more" * (change == "longer"))
                os.utime(victim, (state.st_mtime + 9, state.st_mtime + 9))
            stdout, stderr = process.communicate(timeout=120)
    finally:
        victim.write_bytes(content)
        os.utime(victim, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert process.returncode == 0, stdout + stderr
    assert "broken video: " in stdout
    assert says in stdout
    assert last(out)["progress"]["epoch"] == 2
    assert [entry["path"] for entry in entries(out)] == ["some videos/clip 6.mp4"]
    check_secretless(stdout + stderr, out)
