"""Real H.264 and MPEG-4 files through a published recipe, on whatever machine this is: train, resume, score."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

PIPES = [
    pytest.param("dali_pipes/demo.py", "0.000375 = 0.003 x 1 / 8", id="demo"),
    pytest.param("dali_pipes/k400_8x8.py", "3.90625e-05 = 0.01 x 1 / 256", id="k400_8x8", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("pipe", "rate"), PIPES)
def test_three_real_clips_train_resume_and_score(shared, tmp_path, run_command, pipe, rate):
    listing = tmp_path / "list.txt"
    listing.write_text("arm_wrestling.mp4 0\nclip_300.mp4 1\nmpeg4_164.avi 2\n")
    root, out = shared / "videos", tmp_path / "run"
    train = ["--pipe", pipe, "--data-root", root, "--train-list", listing, "--val-list", listing,
             "--batch-size", 1, "--weights", "none", "--precision", "fp32", "--out", out]  # fmt: skip
    done = run_command("train", *train, "--epochs", 2)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"learning rate {rate}" in done.stdout
    done = run_command("train", *train, "--epochs", 3, "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert torch.load(out / "last.pt", weights_only=True)["progress"]["epoch"] == 3
    board = EventAccumulator(str(out)).Reload()
    assert [event.step for event in board.Scalars("val/top1")] == [3, 6, 9]

    score = ["--pipe", pipe, "--checkpoint", out / "last.pt", "--data-root", root, "--list", listing]
    done = run_command("test", *score, "--dump", tmp_path / "scores.json")
    assert done.returncode == 0, done.stderr
    assert "views 10x3" in done.stdout
    assert "3 videos" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("10x3 top-1 ")
