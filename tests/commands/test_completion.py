"""The program c2d-fast: its script starts the commands, workers included, and shells complete it."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from runs import environment, flags, last

from c2d_fast import __version__, completion
from c2d_fast.program import COMMANDS
from c2d_fast.recipe import Model, shipped_pipes

# As pip writes it for the entry point.
SCRIPT = """#!{python}
import sys
from c2d_fast.program import start
if __name__ == '__main__':
    sys.exit(start())
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "c2d-fast"
    path.write_text(SCRIPT.format(python=sys.executable))
    path.chmod(0o755)
    return path


def run(*words, cwd=ROOT, **env):
    return subprocess.run(
        list(map(str, words)), capture_output=True, text=True, cwd=cwd, timeout=240, check=False,
        env=environment(**{"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", **env}),
    )  # fmt: skip


def test_the_program_names_its_commands_and_runs_them(script, tmp_path):
    module = [sys.executable, "-m", "c2d_fast"]
    for program in ([script], module):
        named = run(*program)
        assert (named.returncode, named.stderr) == (0, "")
        assert all(f"python -m c2d_fast.{name} " in named.stdout for name in COMMANDS)
        assert run(*program, "--version").stdout == f"c2d_fast {__version__}\n"
        unknown = run(*program, "trian", "--pipe", "demo")
        assert (unknown.returncode, unknown.stdout) == (2, "")
        assert unknown.stderr == f"error: trian: is no command; the commands are {', '.join(COMMANDS)}\n"
        assert run(*program, "test", "--help").stdout == run(*module[:-1], "c2d_fast.test", "--help").stdout
    refused = run(script, "train", "--pipe", "nowhere", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: --pipe nowhere: no such file; ")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_its_own_command(name):
    done = run(sys.executable, "-m", f"c2d_fast.{name}", "--help", COLUMNS="120")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: python -m c2d_fast.{name} ")


def test_the_script_imports_nothing_heavy(script):
    code = f"import runpy, sys; runpy.run_path({str(script)!r}, run_name='__mp_main__'); "
    code += "print({'torch', 'nvidia.dali', 'shtab', 'numpy'} & set(sys.modules))"  # what a spawned worker does
    done = run(sys.executable, "-c", code)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_the_script_trains_with_workers(script, eight_videos, tmp_path):
    siblings = tmp_path / "siblings"
    siblings.mkdir()
    (siblings / "mine.py").write_text("from tiny_pipe import *\nfrom tiny_pipe import RECIPE\nfrom beside import WORD\n")
    (siblings / "beside.py").write_text("WORD = 1\n")
    words = flags(eight_videos, tmp_path / "run", epochs=1, workers=2)
    words[words.index("--pipe") + 1] = "mine.py"  # which imports a file of the working folder, as with python -m
    done = run(script, "train", *words, cwd=siblings)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "run/config.json").read_text())["used"]["workers"] == 2
    assert last(tmp_path / "run")["progress"]["epoch"] == 1


def test_the_script_is_ended_in_one_line_from_its_start_on(script):
    process = subprocess.Popen(
        [script, "train", "--pipe", "demo", "--resume", "nowhere.pt"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=ROOT, env=environment(PYTHONPATH=str(ROOT)),
    )  # fmt: skip
    status = f"/proc/{process.pid}/status"
    while process.poll() is None:  # until Python's own handler is no longer what it has
        with open(status) as file:
            caught = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt"))
        if caught & (1 << signal.SIGTERM - 1):
            break
        time.sleep(0.005)
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (143, "stopped by SIGTERM\n")


BASH = """
source {script}
complete -p c2d-fast >&2
while IFS= read -r line; do
  COMP_WORDS=($line); [[ $line == *" " ]] && COMP_WORDS+=("")
  COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); COMPREPLY=()
  _shtab_c2d_fast 2>/dev/null
  (IFS='|'; echo "${{COMPREPLY[*]}}")
done
"""
PIPES = " ".join(shipped_pipes()).split()
COMPLETED = {
    "c2d-fast pre": {"predict", "prepare"},
    "c2d-fast ": {*COMMANDS},
    "c2d-fast train --pi": {"--pipe", "--pictures-every"},
    "c2d-fast train --te": {"--teacher"},
    "c2d-fast train --bal": {"--balance"},
    "c2d-fast train --teacher a": {"a.txt"},
    "c2d-fast train --set distill.t": {
        "distill.temperature=",
        *(f"distill.teacher.{item.name}=" for item in dataclasses.fields(Model)),
    },
    "c2d-fast info --set training.l": {
        "training.lr=",
        "training.lr_batch=",
        "training.label_smoothing=",
        "training.layer_decay=",
    },
    "c2d-fast train --pipe k400_8x8_no": {"k400_8x8_nonlocal", "k400_8x8_nopool", "k400_8x8_nopool_r101"},
    "c2d-fast train --pipe ": {*PIPES, "a.txt", "folder"},
    "c2d-fast train --out ": {"folder"},
    "c2d-fast train --train-list a": {"a.txt"},
    "c2d-fast train --resume a": {"auto", "a.txt"},
    "c2d-fast train --weights i": {"imagenet"},
    "c2d-fast train --batch-size ": {"auto"},
    "c2d-fast test --views ": {"10x3", "1x1"},
    "c2d-fast predict a": {"a.txt"},
    "c2d-fast prepare ": {"check", "demo", "list", "merge", "scan", "show", "transcode"},
    "c2d-fast prepare transcode --codec h": {"h264", "hevc"},
    "c2d-fast prepare scan --no": {"--no-packets"},
    "c2d-fast completion ": {"bash", "zsh"},
}


def test_bash_completes_commands_flags_choices_and_files(tmp_path):
    pytest.importorskip("shtab")
    place = tmp_path / "place"
    (place / "folder").mkdir(parents=True)
    (place / "a.txt").touch()
    done = run(sys.executable, "-m", "c2d_fast", "completion", "bash")
    assert (done.returncode, done.stderr) == (0, "")
    file = tmp_path / "c2d-fast.bash"
    file.write_text(done.stdout)
    assert run("bash", "-n", file).stderr == ""
    shell = subprocess.run(
        ["bash", "--norc", "-c", BASH.format(script=file)], input="\n".join(COMPLETED) + "\n", capture_output=True, text=True,
        cwd=place, timeout=60, check=True,
    )  # fmt: skip
    assert "-F _shtab_c2d_fast c2d-fast" in shell.stderr
    found = dict(zip(COMPLETED, ({*line.split("|")} for line in shell.stdout.splitlines()), strict=True))
    assert found == COMPLETED


def test_every_command_and_flag_is_in_the_scripts():
    pytest.importorskip("shtab")
    for shell in ("bash", "zsh"):
        text = completion.script_for(shell)
        for name in COMMANDS:
            parser = __import__(f"c2d_fast.{name}", fromlist=["make_parser"]).make_parser()
            assert name in text
            for action in completion._actions(parser):
                assert all(flag in text for flag in action.option_strings), (name, action.option_strings)


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh")
def test_zsh_accepts_its_script(tmp_path):
    pytest.importorskip("shtab")
    (tmp_path / "_c2d-fast").write_text(completion.script_for("zsh"))
    code = f"fpath=({tmp_path} $fpath); autoload -Uz compinit && compinit -u -D && echo ${{_comps[c2d-fast]}}"
    done = run("zsh", "-f", "-c", code)
    assert (done.stdout, done.stderr) == ("_c2d-fast\n", "")
    assert run("zsh", "-n", tmp_path / "_c2d-fast").stderr == ""


def test_without_the_package_that_writes_it_one_line_says_so(tmp_path):
    (tmp_path / "shtab.py").write_text("raise ImportError('blocked')\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = run(sys.executable, "-m", "c2d_fast.completion", "bash", PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: completion: needs a package that does not import: shtab (blocked); pip install shtab\n"
