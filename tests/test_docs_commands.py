"""The commands of the documents: run here, marked as needing Kinetics or a GPU, or known to be run elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from media import make_video

from c2d_fast import __file__ as package

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
BLOCK = re.compile(r"^(<!-- needs (?:Kinetics|a GPU|a server)\b[^\n]*-->\n)?```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
"""A block of commands, and the line before it that says what it needs, which a reader of the page does not see."""
ELSEWHERE = {
    r"make demo": "tests/test_demo.py",
    r"make test(-all)?": ".ci/run",
    r"make gpu-.*|C2D_REQUIRE_GPU=1 make gpu-check.*": "tests/gpu",
    r"make (docs|release-check)": "tests/test_packaging.py",
    r"python3 -m venv .*|pip install (-e|--no-deps --target) .*": "Makefile",
    r"tensorboard --logdir runs": "tests/reporting/test_board.py",
    r"python -m c2d_fast.predict --watch .*": "tests/commands/test_watch.py",
    r"pip install 'c2d-fast\[mlflow\]'|export MLFLOW_TRACKING_URI=.*|.* --tracker mlflow": "tests/reporting/test_trackers.py",
    r"python benchmarks/throughput.py( --sweep .*)?": "tests/benchmarks/test_benchmarks.py",
    r"python benchmarks/report.py": "tests/benchmarks/test_benchmarks.py",
    r"python -m c2d_fast.prepare scan --list train.txt --out train.npz": "tests/test_docs_python.py",
}
"""Commands that take too long here, or change more than a test should -> what runs them."""


def blocks(path):
    """A page's blocks of commands: (whether it is marked as needing something, its text)."""
    return [(bool(mark), block) for mark, block in BLOCK.findall(path.read_text())]


def commands(block):
    """A block's commands, continued lines joined, comments taken off."""
    lines = block.replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines) if line]


def to_run(path):
    unmarked = [block for is_marked, block in blocks(path) if not is_marked]
    return [line for block in unmarked for line in commands(block) if not any(re.fullmatch(known, line) for known in ELSEWHERE)]


# The first steps come first: they make the run that the others look at.
RUN = sorted((path for path in DOCUMENTS if to_run(path)), key=lambda path: path.name != "first-steps.md")


def test_every_command_is_run_or_marked():
    assert {path.name for path in RUN} == {
        "first-steps.md", "custom-data.md", "deploy.md", "explain.md", "long-videos.md", "many-machines.md", "recipes.md",
        "seeing.md", "slow.md", "streams.md",
    }  # fmt: skip
    for path in DOCUMENTS:
        for is_marked, block in blocks(path):
            assert is_marked or not any(place in line for place in ("/data/", "k400/") for line in commands(block)), block
        assert len(re.findall(r"^<!-- needs ", path.read_text(), re.MULTILINE)) == sum(mark for mark, _ in blocks(path)), path
    for place in ELSEWHERE.values():
        assert (ROOT / place).exists()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder as a user has it after cloning, with a few videos of three classes, and no way to a GPU."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("dali_pipes", "benchmarks", "c2d_fast"):
        (folder / name).symlink_to(ROOT / name)
    (pipe,) = re.findall(r"```python\n([^`]*RECIPE = replace\(.*?)```", (ROOT / "docs/custom-data.md").read_text(), re.DOTALL)
    (folder / "tennis.py").write_text(pipe)
    for split, count in (("train", 5), ("val", 1)):
        for hue, stroke in enumerate(("back_hand", "fore hand", "serve")):
            for number in range(count):
                make_video(folder / "tennis" / split / stroke / f"{number}.mp4", num_frames=20, hue=hue)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("path", RUN, ids=lambda path: path.name)
def test_the_commands_work_one_after_the_other(path, workplace):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if path.name != "first-steps.md" and not (workplace / "runs/first").exists():  # run alone
        for name in ("data", "runs"):
            (workplace / name).mkdir(exist_ok=True)
        train = "python -m c2d_fast.train --pipe dali_pipes/demo.py --epochs 1 --out runs/first"
        subprocess.run(["bash", "-c", train], cwd=workplace, env=environment, check=True, capture_output=True, timeout=600)
    for command in to_run(path):
        done = subprocess.run(
            ["bash", "-c", command], cwd=workplace, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), command


def source():
    """All of the package's text as its messages read: strings that are written in parts are joined."""
    text = "\n".join(path.read_text() for path in sorted(Path(package).parent.rglob("*.py")))
    return re.sub(r"\"\s*\n\s*f?\"", "", text)


def test_messages_that_are_explained_exist():
    rows = re.findall(r"^\| `(.*?)` \|", (ROOT / "docs/faq.md").read_text(), re.MULTILINE)
    assert len(rows) > 20
    text = source()
    for row in rows:
        for part in row.split("…"):
            assert part.strip(" :,;()") in text, row
