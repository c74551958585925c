"""Machines that lack msgspec, as those with a GPU may."""

import json
import os
import subprocess
import sys

import pytest
from runs import ROOT, environment, flags, last

# One process for all runs: it imports what takes seconds once.
RUNS = """
import json, sys
from c2d_fast.commands.run_train import run_train
from c2d_fast.train import parse
for words in json.loads(sys.argv[1]):
    run_train(parse(words))
"""


@pytest.mark.slow
def test_runs_start_and_go_on_without_msgspec(eight_videos, tmp_path):
    """Machines without a registry lack it."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "msgspec.py").write_text("raise ModuleNotFoundError('no msgspec')")
    path = os.pathsep.join([str(tmp_path / "site"), environment()["PYTHONPATH"]])
    words = flags(eight_videos, tmp_path / "run")
    command = [sys.executable, "-c", RUNS, json.dumps([[*words, "--epochs", "1"], [*words, "--resume", "auto"]])]
    env = environment(PYTHONPATH=path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert last(tmp_path / "run")["progress"]["epoch"] == 2
