"""Signals at any moment of any command, also in its first: a word, 128 + N, and nothing half written."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fork_server import environment
from media import make_video
from runs import PIPE

from c2d_fast.processes import early_signals

ROOT = Path(__file__).parents[2]
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "stopped by SIGTERM", signal.SIGUSR1: "stopped by SIGUSR1"}
MOMENTS = (0.0, 0.1, 0.3, 0.6, 1.0, 2.0, 4.0)


def listens(pid):
    """Whether a process has handlers for SIGTERM: Python itself has none."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory, whole_run):
    """Many videos to be examined, and a checkpoint."""
    folder = tmp_path_factory.mktemp("many")
    make_video(folder / "v0.mp4", num_frames=60, width=320, height=240)
    for number in range(1, 150):
        os.link(folder / "v0.mp4", folder / f"v{number}.mp4")
    (folder / "list.txt").write_text("".join(f"v{number}.mp4 {number % 2}\n" for number in range(150)))
    return folder, whole_run / "best.pt"


def commands(data, out):
    folder, checkpoint = data
    videos = folder / "list.txt"
    return {
        "train": ["--pipe", PIPE, "--train-list", videos, "--val-list", videos, "--out", out / "run", "--weights", "none"],
        "test": ["--pipe", PIPE, "--checkpoint", checkpoint, "--list", videos, "--dump", out / "dump.pkl"],
        "predict": [folder, "--pipe", PIPE, "--checkpoint", checkpoint],
        "browse": ["--pipe", PIPE, "--list", videos, "--png", out / "clips.png"],
        "analyze": [checkpoint.parent, "--out", out / "analysis"],
        "export": ["--checkpoint", checkpoint, "--out", out / "weights.safetensors"],
        "info": ["--pipe", PIPE, "--checkpoint", checkpoint],
        "prepare": ["scan", "--list", videos, "--out", out / "manifest.npz"],
    }


def ended(command, number, moment, cache):
    """Starts a command and sends it a signal, a time after it has begun to handle signals; returns what it said."""
    words = [sys.executable, "-m", f"c2d_fast.{command[0]}", *map(str, command[1:])]
    # A cache of its own: the list is examined anew each time.
    env = environment(XDG_CACHE_HOME=str(cache))
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    try:
        deadline = time.monotonic() + 30
        while not listens(process.pid) and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(moment)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, stderr


def check(data, out, name, number, moment):
    out.mkdir()
    command = [name, *commands(data, out)[name]]
    code, stderr = ended(command, number, moment, out / "cache")
    assert code in (128 + number, 0), (name, number, moment, stderr)  # or it was done already
    assert stderr == ("" if code == 0 else f"{WORDS[number]}\n"), (name, number, moment)
    left = [path.name for path in out.rglob("*") if "partial" in path.name or path.suffix == ".tmp"]
    assert not left, (name, number, moment)
    return code


@pytest.mark.parametrize("name", list(commands((Path(), Path("a/b")), Path())))
def test_a_command_that_begins_is_ended_with_a_word(data, tmp_path, name):
    """At its very beginning, and a little later or later still: each command at all of them is for the slow test."""
    later = ((signal.SIGINT, 0.3), (signal.SIGTERM, 1.5))[name in ("test", "predict", "info", "prepare")]
    codes = [check(data, tmp_path / str(moment), name, number, moment) for number, moment in ((signal.SIGTERM, 0.0), later)]
    assert codes[0] == 128 + signal.SIGTERM


@pytest.mark.slow
@pytest.mark.parametrize("number", WORDS, ids=lambda number: number.name)
@pytest.mark.parametrize("name", list(commands((Path(), Path("a/b")), Path())))
def test_at_every_moment(data, tmp_path, name, number):
    for moment in MOMENTS:
        check(data, tmp_path / str(moment), name, number, moment)


def test_a_scan_that_is_ended_goes_on(data, tmp_path, run_command):
    folder, _ = data
    (tmp_path / "cache").mkdir()
    command = ["prepare", "scan", "--list", folder / "list.txt", "--out", tmp_path / "m.npz"]
    assert ended(command, signal.SIGTERM, 2.0, tmp_path / "cache")[0] in (0, 143)
    assert run_command(*command).returncode == 0


STUCK = """
import sys
from c2d_fast import cli
from c2d_fast.processes import signals
signals._TIDY_UP_LIMIT_S = 0.5
def main():
    cli.imports_done()
    print("ready", flush=True)
    while True:
        try:
            while True:
                pass
        except KeyboardInterrupt:  # as foreign code may that Python calls back from
            pass
cli.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_stuck_in_foreign_code_ends_too(number):
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        process.stdout.readline()
        os.kill(process.pid, number)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, stderr) == (128 + number, f"{WORDS[number]}\n")


SWALLOWED = """
from c2d_fast import cli
def main():
    cli.imports_done()
    print("ready", flush=True)
    try:
        while True:
            pass
    except BaseException as error:
        raise {} from error
cli.run(main)
"""


@pytest.mark.parametrize("error", ["ImportError('initialization failed')", "cli.UserError('does not import')"])
def test_what_foreign_code_makes_of_a_signal_is_no_error(error):
    words = [sys.executable, "-c", SWALLOWED.format(error)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, stderr) == (143, "stopped by SIGTERM\n")


def test_who_imports_the_package_keeps_its_signals():
    code = "import signal; before = signal.getsignal(2), signal.getsignal(15); import c2d_fast; "
    code += "print(before == (signal.getsignal(2), signal.getsignal(15)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "True\n"


@pytest.mark.parametrize(
    ("words", "is_one"),
    [
        (["python", "-m", "c2d_fast.train", "--pipe", "-m"], True),
        (["python", "-u", "-mc2d_fast.test"], True),
        (["python", "-m", "c2d_fast"], True),
        (["python", "-I", "/usr/bin/c2d-fast", "train"], True),
        (["python", "other.py", "c2d-fast"], False),
        (["python", "-m", "pytest", "-m", "c2d_fast.train"], False),
        (["python", "-c", "from multiprocessing.spawn import spawn_main"], False),
        (["python", "train.py"], False),
        (["python"], False),
        (["python", "-m"], False),
    ],
)
def test_what_is_a_command(words, is_one, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", words)
    assert early_signals.is_command() == is_one


@pytest.mark.parametrize("number", early_signals.STOP_SIGNALS)
def test_a_signal_waits_while_a_process_starts(number):
    heard = []
    before = signal.signal(number, lambda number, frame: heard.append(number))
    try:
        with early_signals.signals_deferred():
            signal.raise_signal(number)
            time.sleep(0)  # where Python calls handlers
            assert heard == []
        assert heard == [number], "once"
        signal.raise_signal(number)
        assert heard == [number, number]
    finally:
        signal.signal(number, before)


def test_an_ignored_signal_stays_ignored_while_a_process_starts():
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with early_signals.signals_deferred():
            assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)
