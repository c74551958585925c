"""`make demo`, whole, in a copy of this tree: what a new user sees first."""

import json
import re
import shutil
import subprocess

import pytest
from board_tags import IMAGES, SCALARS
from conftest import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from c2d_fast.recipe import load_pipe


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Its output, and the run folder."""
    if not (ROOT / ".venv").exists():
        pytest.skip("this tree has no .venv of make")
    folder = tmp_path_factory.mktemp("demo")
    for name in ("c2d_fast", "dali_pipes"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        shutil.copy2(ROOT / name, folder)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    # Installed already: installing anew would make the environment one of the copy.
    make = ["make", "-o", ".venv/installed", "demo"]
    done = subprocess.run(make, cwd=folder, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs").iterdir()
    return done, run


@pytest.mark.slow
def test_it_learns_as_its_recipe_says(demo):
    done, _ = demo
    assert done.stderr == ""
    top1 = float(re.fullmatch(r"validation top-1 ([\d.]+) % \(chance 12.5 %\)", done.stdout.splitlines()[-1])[1])
    assert top1 > load_pipe(ROOT / "dali_pipes/demo.py").recipe.expected_top1 - 5


@pytest.mark.slow
def test_recording_takes_less_than_a_hundredth(demo):
    done, run = demo
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("recording took ")]
    assert float(re.search(r"[\d.]+", line)[0]) < 1
    lines = [json.loads(line) for line in (run / "machine.jsonl").read_text().splitlines()]
    assert [line["recording_percent"] for line in lines][-1] < 1


@pytest.mark.slow
def test_its_board_shows_all(demo):
    _, run = demo
    board = EventAccumulator(str(run), size_guidance={"images": 0}).Reload()
    tags = board.Tags()
    assert set(tags["scalars"]) == SCALARS | {"published/top1"}
    assert set(tags["images"]) == IMAGES
    for tag in IMAGES:
        steps = [event.step for event in board.Images(tag)]
        assert steps[-1] == 1000
        assert len(steps) >= 2  # in as many epochs between as there was time for
