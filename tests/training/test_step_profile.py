import json

import pytest
import tiny_pipe
import torch
from toy import Toy, make_trainer

from c2d_fast.training.step_profile import STEPS, StepProfile


@pytest.mark.parametrize("steps", [STEPS, 3])
def test_a_profile_leaves_a_trace_and_a_verdict(tmp_path, capsys, steps):
    trainer = make_trainer(tmp_path / "run", source=Toy(steps_per_epoch=steps, size=16))
    trainer.profile = StepProfile(trainer.checkpoints.folder, torch.device("cpu"))
    with trainer.profile:
        trainer.run(1)
    if steps < STEPS:
        assert trainer.profile.verdict == ""
        assert not trainer.profile.path.exists()
        return
    assert f"profile of steps 8 to {STEPS}" in capsys.readouterr().out
    assert "the model bounds it" in trainer.profile.verdict
    assert trainer.profile.path.with_name("profile.txt").read_text() == trainer.profile.verdict + "\n"
    events = json.loads(trainer.profile.path.read_text())["traceEvents"]
    assert any("convolution" in str(event.get("name")) for event in events)


def test_a_slow_loader_is_named(tmp_path):
    profile = StepProfile(tmp_path, torch.device("cpu"))
    with profile:
        verdicts = []
        for _ in range(STEPS + 3):
            torch.randn(64, 64) @ torch.randn(64, 64)
            verdicts.append(profile.step(waited_s=1.0))
    said = [verdict for verdict in verdicts if verdict]
    assert len(said) == 1
    assert "the loader bounds it" in said[0]


def test_too_few_steps_are_said(tmp_path, run_command):
    from media import make_dataset

    data = make_dataset(tmp_path / "data", count=4, num_frames=(20,))
    args = ["--pipe", tiny_pipe.__file__, "--train-list", data, "--num-classes", 2, "--batch-size", 2, "--epochs", 1]
    done = run_command("train", *args, "--out", tmp_path / "run", "--profile")
    assert done.returncode == 0, done.stderr
    assert "--profile needs 13 steps" in done.stdout
    assert done.stderr == ""
