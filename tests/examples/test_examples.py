"""The examples run, print what they must, and go on in mid-epoch."""

import json
import os
import re
import sys

import fork_server
import pytest
from conftest import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NEEDS = {
    "accelerate_transformers": ("accelerate", "transformers"),
    "lightning_module": ("lightning",),
    "pytorch_r3d18": (),
    "timm_frames": ("timm",),
}


ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def run_in_turn(example, *runs, cwd):
    """Runs an example several times in one process; returns what it says and what it is fed in each."""
    words = json.dumps([[str(word) for word in words] for words in runs])
    for package in NEEDS[example.stem.removeprefix("small_")]:
        pytest.importorskip(package, reason=f"{package} is missing: pip install -e '.[examples]'")
    env = os.environ | ENVIRONMENT | {"PYTHONPATH": fork_server.with_tests()}
    command = [sys.executable, str(ROOT / "tests/examples/runs_of_example.py"), str(example), words]
    done = fork_server.run(command, env, timeout=200, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.split(r"^run\n", done.stdout, flags=re.MULTILINE)[1:]
    return said, [re.findall(r"^fed (.*)$", text, re.MULTILINE) for text in said]


def epochs(said):
    """The loss and the accuracy of each epoch, as they are printed."""
    return re.findall(r"^epoch \d+: loss (\d+\.\d{4}), validation accuracy (\d+\.\d)%$", said, re.MULTILINE)


def test_each_is_short_and_has_its_line():
    assert {path.stem for path in EXAMPLES} == NEEDS.keys()
    page = (ROOT / "examples/README.md").read_text()
    for path in EXAMPLES:
        text = path.read_text()
        assert len(text.splitlines()) <= 40
        assert 2 <= len(text.split('"""')[1].splitlines()) <= 4
        assert f"python examples/{path.name} data/demo/train.txt data/demo/val.txt" in text
        assert f"({path.name})" in page
    assert "pip install -e '.[examples]'" in page


def test_plain_pytorch_goes_on_in_mid_epoch(eight_videos, tmp_path):
    words = (eight_videos, eight_videos, "r3d18.pt", "--epochs", 2, "--batch-size", 2, "--frames", 2, "--size", 32)
    words = (*words, "--save-every", 3)
    said, fed = run_in_turn(ROOT / "examples/pytorch_r3d18.py", words, (*words, "--resume", "r3d18.pt"), cwd=tmp_path)
    (tmp_path / "r3d18.pt").unlink()  # 265 MB
    assert len(fed[0]) == 8
    assert fed[1] == fed[0][7:]  # it was saved after three of the second epoch's four batches
    assert len(epochs(said[0])) == 2
    assert epochs(said[1]) == epochs(said[0])[1:]  # with the same weights the last batch has the same loss


def test_lightning_goes_on_in_mid_epoch(eight_videos, tmp_path):
    example = tmp_path / "small_lightning_module.py"
    text = (ROOT / "examples/lightning_module.py").read_text()
    for usual, small in {'"batch_size": 8': '"batch_size": 2', "train_steps=10": "train_steps=3", "size=56": "size=32"}.items():
        assert usual in text
        text = text.replace(usual, small)
    example.write_text(text)
    words = (eight_videos, eight_videos, 2, "saved")
    said, fed = run_in_turn(example, words, words, cwd=tmp_path)
    assert len(fed[0]) == 8
    assert fed[1] == fed[0][6:]  # it was saved after six steps, two of them of the second epoch
    assert {"Epoch 0: 100%", "Epoch 1: 100%"} <= set(re.findall(r"Epoch \d: 100%", said[0]))
    ends = [re.findall(r"loss_step=([\d.]+), accuracy=([\d.]+), loss_epoch=", text)[-1] for text in said]
    assert ends[0] == ends[1]


def test_accelerate_trains_a_transformer_and_keeps_its_place(eight_videos, tmp_path):
    words = (eight_videos, eight_videos, "saved", "--batch-size", 2)
    said, fed = run_in_turn(
        ROOT / "examples/accelerate_transformers.py",
        (*words, "--epochs", 1),
        (*words, "--epochs", 2, "--resume", "saved"),
        (*words, "--epochs", 2),
        cwd=tmp_path,
    )
    assert fed[0] + fed[1] == fed[2]
    assert [len(epochs(text)) for text in said] == [1, 1, 2]


def test_timm_trains_on_frames(eight_videos, tmp_path):
    words = (eight_videos, eight_videos, "--epochs", 2, "--batch-size", 2, "--frames", 2, "--size", 32)
    (said,), (fed,) = run_in_turn(ROOT / "examples/timm_frames.py", words, cwd=tmp_path)
    assert len(fed) == 8
    assert len(epochs(said)) == 2
