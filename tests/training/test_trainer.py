"""The loop on toy batches: no video, no DALI."""

import json

import pytest
import torch
from toy import make_trainer, resumed

from c2d_fast.errors import UserError
from c2d_fast.model import checkpoint
from c2d_fast.recipe import Training
from c2d_fast.training.metrics import RunningMetrics
from c2d_fast.training.progress import Progress
from c2d_fast.training.schedule import lr_at, make_optimizer, scaled_lr


def weights(path):
    return checkpoint.load(path, "--resume")["model"]


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_resumed_run_ends_with_the_weights_of_one_that_was_not_stopped(tmp_path):
    make_trainer(tmp_path / "whole", top1s=[1, 2, 3]).run(3)
    make_trainer(tmp_path / "stopped", top1s=[1, 2, 3]).run(1)
    later = resumed(tmp_path / "stopped", top1s=[2, 3])
    later.run(3)
    whole, stopped = weights(tmp_path / "whole" / "last.pt"), weights(tmp_path / "stopped" / "last.pt")
    assert all(torch.equal(whole[key], stopped[key]) for key in whole)
    assert later.progress == Progress(step=9, epoch=3, best_top1=30.0, best_epoch=3)


def test_best_is_the_epoch_with_the_highest_score(tmp_path):
    trainer = make_trainer(tmp_path, top1s=[4, 7, 5])
    trainer.run(3)
    best = checkpoint.load(tmp_path / "best.pt", "--checkpoint")
    expected = {"step": 6, "epoch": 2, "clips": 0, "best_top1": pytest.approx(70), "best_epoch": 2, "skipped": 0}
    assert best["progress"] == expected
    assert checkpoint.load(tmp_path / "last.pt", "--checkpoint")["progress"]["epoch"] == 3
    lines = lines_of(tmp_path)
    assert [line["top1"] for line in lines if line["kind"] == "val"] == pytest.approx([40, 70, 50])
    train = [line for line in lines if line["kind"] == "train"]
    assert [line["step"] for line in train] == [3, 6, 9]
    assert [line["lr"] for line in train] == pytest.approx([0.05, 0.05, 0.005])
    assert all(line["clips_per_s"] > 0 and 0 <= line["data_wait_percent"] <= 100 for line in train)


def test_both_checkpoints_are_there_before_the_first_epoch_ends(tmp_path):
    trainer = make_trainer(tmp_path, top1s=[1])
    trainer.source.epoch = lambda epoch, first_step: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(1)
    for name in ("last.pt", "best.pt"):
        assert checkpoint.load(tmp_path / name, "--resume")["progress"]["epoch"] == 0


def test_a_run_resumed_into_another_folder_has_a_best_of_its_own(tmp_path):
    make_trainer(tmp_path / "a", top1s=[9]).run(1)
    content = checkpoint.load(tmp_path / "a" / "last.pt", "--resume")
    later = make_trainer(tmp_path / "b", top1s=[5], start_step=3)
    later.model.load_state_dict(content["model"])
    later.restore(content)
    later.run(2)
    assert checkpoint.load(tmp_path / "b" / "best.pt", "--resume")["progress"]["best_top1"] == pytest.approx(50)


def test_an_epoch_outlives_a_validation_that_fails_and_is_validated_later(tmp_path):
    trainer = make_trainer(tmp_path, top1s=[1])
    trainer.validate = lambda asked, gallery: (_ for _ in ()).throw(UserError("a broken video"))
    with pytest.raises(UserError, match="a broken video"):
        trainer.run(2)
    progress = checkpoint.load(tmp_path / "last.pt", "--resume")["progress"]
    assert (progress["step"], progress["epoch"], progress["clips"]) == (3, 0, 12)
    later = resumed(tmp_path, top1s=[4, 5])
    later.run(2)
    assert later.progress == Progress(step=6, epoch=2, best_top1=50.0, best_epoch=2)
    assert [line["step"] for line in lines_of(tmp_path) if line["kind"] == "val"] == [3, 6]


def test_records_of_steps_that_are_taken_again_go(tmp_path):
    make_trainer(tmp_path, top1s=[1, 2]).run(2)
    again = make_trainer(tmp_path, top1s=[3], start_step=3)
    again.progress = Progress(step=3, epoch=1)
    again.run(2)
    lines = lines_of(tmp_path)
    assert [(line["kind"], line["step"]) for line in lines] == [("train", 3), ("val", 3), ("train", 6), ("val", 6)]
    assert lines[-1]["top1"] == pytest.approx(30)


def test_without_validation_best_follows_last(tmp_path):
    make_trainer(tmp_path).run(2)
    last, best = weights(tmp_path / "last.pt"), weights(tmp_path / "best.pt")
    assert all(torch.equal(last[key], best[key]) for key in last)


def test_a_resumed_optimizer_keeps_its_own_options(tmp_path):
    make_trainer(tmp_path, top1s=[1]).run(1)
    other = Training(lr=1.0, lr_batch=4, clips_per_gpu=4, epochs=1, milestones=(), momentum=0.5, weight_decay=0.1)
    trainer = resumed(tmp_path, training=other)
    (group,) = trainer.step.optimizer.param_groups
    assert (group["momentum"], group["weight_decay"], group["lr"]) == (0.5, 0.1, 1.0)
    assert all("momentum_buffer" in moments for moments in trainer.step.optimizer.state.values())


def test_fp16_scales_gradients_and_bf16_does_not(tmp_path):
    for name in ("fp16", "bf16"):
        trainer = make_trainer(tmp_path / name, top1s=[1], precision=name)
        trainer.run(1)
        scaler = checkpoint.load(tmp_path / name / "last.pt", "--resume")["scaler"]
        assert bool(scaler) == (name == "fp16")


def test_gradients_are_clipped_to_the_recipe_s_norm(tmp_path):
    training = Training(lr=1.0, lr_batch=4, clips_per_gpu=4, epochs=1, milestones=(), momentum=0, weight_decay=0,
                        clip_grad_norm=1e-3)  # fmt: skip
    trainer = make_trainer(tmp_path, top1s=[1], training=training)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.step(trainer.source.epoch(0), 1, RunningMetrics(torch.device("cpu")))
    moved = torch.cat([(p - b).flatten() for p, b in zip(trainer.model.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_schedule():
    recipe = Training(lr=0.01, lr_batch=256, clips_per_gpu=32, epochs=100, milestones=(40, 80))
    assert scaled_lr(recipe, 256) == 0.01
    assert scaled_lr(recipe, 32) == pytest.approx(0.01 / 8)
    assert [lr_at(epoch, 1.0, recipe) for epoch in (0, 39, 40, 79, 80, 99)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    (group,) = make_optimizer(model, recipe, 0.01).param_groups
    assert (group["momentum"], group["weight_decay"], len(group["params"])) == (0.9, 1e-4, 4)
