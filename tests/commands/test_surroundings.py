"""Commands whose outputs are closed or full, and those of a user whom the system does not know."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from media import make_dataset
from runs import PIPE, ROOT, flags

COMMANDS = ("train", "test", "predict", "browse", "analyze", "export", "info", "prepare")
CLOSED = (">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", ">/dev/full 2>/dev/full")
UNKNOWN = 54321


def shell(command, **kwargs):
    text = f"{sys.executable} -m {command}"
    return subprocess.run(["bash", "-c", text], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, **kwargs)


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two videos")
    data = make_dataset(folder / "data", count=2, num_frames=(12,))
    done = shell(f"c2d_fast.prepare scan --list '{data}' --out '{folder}/m.npz'")
    assert done.returncode == 0, done.stderr
    return folder / "m.npz"


@pytest.mark.parametrize("closed", CLOSED)
def test_a_result_that_nobody_can_be_shown(scanned, closed):
    done = shell(f"c2d_fast.prepare show '{scanned}' {closed}")
    assert done.returncode == (2 if "full" in closed else 0)
    assert "Traceback" not in done.stderr
    if closed == ">/dev/full":
        assert done.stderr == (
            "error: the output cannot be written (No space left on device); make room, or send it elsewhere\n"
        )


@pytest.mark.slow
@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize("name", [*(f"c2d_fast.{name}" for name in COMMANDS), "c2d_fast"])
def test_every_command_bears_closed_outputs(name, closed):
    for words, code in (("--help", 2 if "full" in closed else 0), ("", None)):
        done = shell(f"{name} {words} {closed}")
        assert "Traceback" not in done.stdout + done.stderr
        assert done.returncode in ((0, 2) if code is None or name == "c2d_fast" else (code,)), done


FIRST_FILE = """
import os, sys
from pathlib import Path
from c2d_fast import console
console.begin()
file = open(sys.argv[1], "w")
os.write(1, b"a library's words")
os.write(2, b"and more")
file.write("ours")
file.close()
"""


def test_no_file_of_ours_takes_the_place_of_a_closed_output(tmp_path):
    path = tmp_path / "file"
    command = f'"$0" -c "$1" {path} <&- >&- 2>&-'
    done = subprocess.run(["bash", "-c", command, sys.executable, FIRST_FILE], cwd=ROOT, timeout=60, check=False)
    assert (done.returncode, path.read_text()) == (0, "ours")


@pytest.fixture(scope="module")
def unknown():
    """Runs a command as a user without a name and a home, who may read everything and write one folder."""
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("only root, with setpriv, can become somebody else")
    caps = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    become = ["setpriv", f"--reuid={UNKNOWN}", f"--regid={UNKNOWN}", "--clear-groups", *caps]
    folder = Path(tempfile.mkdtemp())  # pytest's are for one user only
    os.chown(folder, UNKNOWN, UNKNOWN)
    names = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "TORCH_HOME")
    env = {name: value for name, value in os.environ.items() if name not in names}
    env |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "PYTHONDONTWRITEBYTECODE": "1"}
    env |= {"CUDA_VISIBLE_DEVICES": "", "TMPDIR": str(folder)}

    def run(*words):
        command = [*become, sys.executable, *map(str, words)]
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False)

    if run("-c", "import os; assert os.getuid() and os.getcwd()").returncode:
        pytest.skip("another user cannot run this interpreter")
    yield folder, run
    shutil.rmtree(folder)


def test_a_user_whom_the_system_does_not_know(unknown, scanned):
    folder, run = unknown
    for words in (
        ("train", "--help"),
        ("info",),
        ("prepare", "scan", "--list", scanned.parent / "data" / "list.txt", "--out", folder / "m.npz"),
    ):
        done = run("-m", f"c2d_fast.{words[0]}", *words[1:])
        assert (done.returncode, done.stderr) == (0, ""), (words, done.stderr)
    demo = ["--pipe", ROOT / "dali_pipes" / "demo.py", "--num-classes", 2]  # weights are to be had of ordinary models only
    words = flags(scanned, folder / "imagenet", *demo, "--workers", 1, "--weights", "imagenet", epochs=1)
    done = run("-m", "c2d_fast.train", *words)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "there is no home folder to keep them in; set TORCH_HOME to a folder" in done.stderr
    assert not (folder / "~").exists()


@pytest.mark.slow
def test_that_user_trains_and_scores(unknown, scanned):
    folder, run = unknown
    data, out = scanned.parent / "data" / "list.txt", folder / "run"
    done = run("-m", "c2d_fast.train", *flags(data, out, "--workers", 1, "--weights", "none", epochs=1))
    assert done.returncode == 0, done.stderr
    assert "without a home folder, and with no XDG_CACHE_HOME, nothing keeps the result" in done.stdout
    assert "Traceback" not in done.stderr
    done = run("-m", "c2d_fast.test", "--pipe", PIPE, "--list", data, "--checkpoint", Path(out, "last.pt"), "--views", "1x1")
    assert done.returncode == 0, done.stderr
    assert not (folder / "~").exists()
