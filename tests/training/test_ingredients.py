"""Ingredients of a recipe in the loop: rates, weight decay, averaged weights, freezing, patience; on toy batches."""

import dataclasses
import itertools

import numpy as np
import pytest
import timm.optim
import torch
from tiny_pipe import DEPTH
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from toy import TRAINING, Toy, make_trainer, resumed

from c2d_fast.errors import UserError
from c2d_fast.model import checkpoint
from c2d_fast.model.c2d import C2D
from c2d_fast.model.model_file import read_model_file
from c2d_fast.recipe import Augment, Labels, Model, Training, load_pipe
from c2d_fast.training.metrics import RunningMetrics
from c2d_fast.training.mixing import Mixing
from c2d_fast.training.objective import Objective
from c2d_fast.training.parameter_groups import parameter_groups, part_of
from c2d_fast.training.schedule import lr_at, make_optimizer, set_lr

TINY = Model(depth=DEPTH, temporal_pool=True, dropout=0.0, num_classes=3)


def tiny():
    torch.manual_seed(0)
    return C2D(TINY)


def changed(**fields):
    return dataclasses.replace(TRAINING, **fields)


def test_a_cosine_with_warm_up_is_torch_s():
    training = Training(lr=0.8, lr_batch=1, clips_per_gpu=1, epochs=10, schedule="cosine", warmup_epochs=2, final_factor=0.01)
    steps, warmup = 10 * 7, 2 * 7
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.8)
    rising = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=warmup)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - warmup, eta_min=0.008)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [rising, falling], milestones=[warmup])
    for step in range(steps):
        assert lr_at(step / 7, 0.8, training) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6), step
        optimizer.step()
        schedule.step()
    # --epochs stretches it.
    assert lr_at(19.9, 0.8, training, epochs=20) < 0.01 < lr_at(9.9, 0.8, training, epochs=20)


def test_a_warm_up_before_steps_rises_to_what_the_steps_have():
    training = Training(lr=1, lr_batch=1, clips_per_gpu=1, epochs=10, milestones=(1, 6), warmup_epochs=2, warmup_factor=0.5)
    rates = [lr_at(epoch, 1.0, training) for epoch in (0, 1, 2, 5.99, 6)]
    assert rates == pytest.approx([0.05, 0.075, 0.1, 0.1, 0.01])


def test_the_rate_follows_the_schedule_step_by_step_and_is_recorded(tmp_path):
    training = changed(schedule="cosine", milestones=(), warmup_epochs=1)
    trainer, rates = make_trainer(tmp_path, training=training), []
    take = trainer.step.optimizer.step
    trainer.step.optimizer.step = lambda: (rates.append(trainer.step.optimizer.param_groups[0]["lr"]), take())
    trainer.run(3)
    assert rates == pytest.approx([lr_at(step / 3, 0.05, training) for step in range(9)])
    assert rates[0] < rates[1] < rates[2] < rates[3] > rates[4] > rates[8]


def test_norms_and_biases_without_decay_are_those_of_timm():
    model = tiny()
    ours = parameter_groups(model, changed(decay_norms=False, weight_decay=0.1))
    theirs = timm.optim.param_groups_weight_decay(model, 0.1)
    assert {group["weight_decay"]: set(map(id, group["params"])) for group in ours} == {
        group["weight_decay"]: set(map(id, group["params"])) for group in theirs
    }
    (group,) = parameter_groups(model, TRAINING)
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]


def test_the_layer_wise_rate_falls_from_the_classifier_to_the_stem():
    model = C2D(Model(depth=18, temporal_pool=True, dropout=0, num_classes=3, nonlocal_after=((2, 0),)))
    optimizer = make_optimizer(model, changed(layer_decay=0.5, momentum=0.0, weight_decay=0.0), 1.0)
    set_lr(optimizer, 1.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        rate = 0.5 ** (5 - part_of(name))
        assert torch.allclose(before[name] - parameter, torch.full_like(parameter, rate), atol=1e-6), name
    parts = {name: part_of(name) for name in before}
    assert (parts["conv1.weight"], parts["bn1.bias"], parts["layer3.0.conv1.weight"], parts["fc.bias"]) == (0, 0, 3, 5)
    assert {part for name, part in parts.items() if "nonlocal" in name} == {2}


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_other_optimizers_take_the_library_s_own_steps(name):
    training = changed(optimizer=name, betas=(0.8, 0.95), weight_decay=0.05)
    ours, theirs = tiny(), tiny()
    optimizer = make_optimizer(ours, training, 0.01)
    made = {
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.95), weight_decay=0.05),
        "lamb": lambda p: timm.optim.Lamb(p, lr=0.01, betas=(0.8, 0.95), weight_decay=0.05, max_grad_norm=None),
    }
    other = made[name](theirs.parameters())
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            two.grad = one.grad.clone()
        optimizer.step()
        other.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "adamw"},
        {"optimizer": "lamb"},
        {"ema": 0.9},
        {"ema": 0.9, "schedule": "cosine", "milestones": (), "warmup_epochs": 1.5, "layer_decay": 0.7, "decay_norms": False},
        {"freeze": 3, "norms": "first"},
    ],
)
def test_a_run_that_is_stopped_in_mid_epoch_ends_as_one_that_is_not(fields, tmp_path):
    training = changed(**fields)
    mixing = Mixing(Augment(mixup=0.3, cutmix=1.0), seed=0)
    with_ = {"training": training, "objective": Objective(3, Labels(), 0.1, mixes=True), "mixing": mixing}
    make_trainer(tmp_path / "whole", **with_).run(2)
    stopped = make_trainer(tmp_path / "stopped", every_steps=4, **with_)
    batches = stopped.source.epoch
    stopped.source.epoch = lambda epoch, first: itertools.islice(batches(epoch, first), 2 if epoch else None)
    with pytest.raises(AssertionError, match="fewer batches"):
        stopped.run(2)
    content = checkpoint.load(tmp_path / "stopped" / "last.pt", "--resume")
    assert content["progress"]["step"] == 4
    resumed(tmp_path / "stopped", **with_).run(2)
    whole, later = (checkpoint.load(tmp_path / name / "last.pt", "--resume") for name in ("whole", "stopped"))
    assert whole["progress"]["step"] == 6
    assert all(torch.equal(whole["model"][key], later["model"][key]) for key in whole["model"])
    if training.ema:
        assert whole["averaged"]["steps"] == later["averaged"]["steps"] == 6
        assert all(torch.equal(whole["averaged"]["model"][key], later["averaged"]["model"][key]) for key in whole["model"])
        assert any(not torch.equal(whole["averaged"]["model"][key], whole["model"][key]) for key in whole["model"])


def test_averaged_weights_are_torch_s_averaged_model_s_to_the_bit(tmp_path):
    trainer = make_trainer(tmp_path, training=changed(ema=0.9))
    theirs = AveragedModel(trainer.model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for step, batch in enumerate(trainer.source.epoch(0), start=1):
        trainer.step(iter([batch]), step, RunningMetrics(torch.device("cpu")))
        theirs.update_parameters(trainer.model)
    ours, other = trainer.step.averaged.model.state_dict(), theirs.module.state_dict()
    assert all(torch.equal(ours[key], other[key]) for key in ours if not key.endswith("num_batches_tracked"))


def test_averaged_weights_are_an_exponential_mean_of_weights_and_statistics(tmp_path):
    trainer = make_trainer(tmp_path, training=changed(ema=0.75))
    batches, metrics, expected = itertools.chain.from_iterable(map(trainer.source.epoch, range(2))), None, {}
    metrics = RunningMetrics(torch.device("cpu"))
    for step in range(1, 6):
        trainer.step(batches, step, metrics)
        for name, value in trainer.model.state_dict().items():
            if value.is_floating_point():
                before = expected.get(name, value.double())
                expected[name] = 0.75 * before + 0.25 * value.double()
    averaged = trainer.step.averaged.model.state_dict()
    assert all(torch.allclose(averaged[name].double(), value, atol=1e-6) for name, value in expected.items())
    assert "bn1.running_var" in expected


def test_what_is_saved_and_used_are_the_averaged_weights(tmp_path):
    trainer = make_trainer(tmp_path, training=changed(ema=0.9), top1s=[1, 2])
    trainer.run(2)
    content = checkpoint.load(tmp_path / "best.pt", "--checkpoint")
    file = read_model_file(tmp_path / "best.pt", "--checkpoint")
    assert file.is_averaged
    assert all(torch.equal(file.state[key], value) for key, value in content["averaged"]["model"].items())
    assert not torch.equal(file.state["fc.weight"], content["model"]["fc.weight"])


def test_a_step_that_is_not_applied_leaves_the_average_finite(tmp_path):
    class Bad(Toy):
        def epoch(self, epoch, first_step=0):
            yield from super().epoch(epoch, first_step)

    trainer = make_trainer(tmp_path, training=changed(ema=0.5), source=Bad())
    metrics = RunningMetrics(torch.device("cpu"))
    trainer.step(trainer.source.epoch(0), 1, metrics)
    trainer.step.objective = lambda *args: Objective(3)(*args) * float("nan")
    trainer.step.objective.targets = Objective(3).targets
    result = trainer.step(trainer.source.epoch(1), 2, metrics)
    assert not result.applied
    assert all(value.isfinite().all() for value in trainer.step.averaged.model.state_dict().values())


@pytest.mark.parametrize("freeze", [1, 3, 5])
def test_frozen_parts_stay_to_the_bit_and_the_others_learn(freeze, tmp_path):
    trainer = make_trainer(tmp_path, training=changed(freeze=freeze))
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    trainer.run(1)
    after = trainer.model.state_dict()
    for name in (name for name, _ in trainer.model.named_parameters()):
        assert torch.equal(before[name], after[name]) == (part_of(name) < freeze), name
    for name in (name for name in before if "running" in name):
        assert torch.equal(before[name], after[name]) == (part_of(name) < freeze), name


@pytest.mark.parametrize("norms", ["train", "frozen", "first"])
def test_which_batch_normalisations_gather_statistics(norms, tmp_path):
    trainer = make_trainer(tmp_path, training=changed(norms=norms))
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    trainer.run(1)
    moved = {
        name for name, value in trainer.model.state_dict().items() if "running" in name and not torch.equal(value, before[name])
    }
    first = {name for name in before if name.startswith("bn1.running")}
    assert moved == {"train": {name for name in before if "running" in name}, "frozen": set(), "first": first}[norms]
    assert not torch.equal(before["layer1.0.bn1.weight"], trainer.model.state_dict()["layer1.0.bn1.weight"])


def test_a_run_ends_when_validation_gets_no_better(tmp_path):
    trainer = make_trainer(tmp_path, training=changed(epochs=8, patience=2), top1s=[3, 6, 5, 6, 9])
    trainer.run(8)
    assert (trainer.progress.epoch, trainer.progress.best_epoch) == (4, 2)
    again = resumed(tmp_path, training=changed(epochs=8, patience=2), top1s=[])
    again.run(8)  # it is finished: nothing is trained
    assert again.progress.epoch == 4
    longer = resumed(tmp_path, training=changed(epochs=8, patience=3), top1s=[9])
    longer.run(5)
    assert (longer.progress.epoch, longer.progress.best_epoch) == (5, 5)


def test_a_model_without_anything_to_learn_is_refused():
    model = tiny().requires_grad_(False)
    with pytest.raises(UserError, match="leaves nothing to be learnt"):
        make_optimizer(model, TRAINING, 0.1)


def test_moments_of_another_optimizer_are_refused(tmp_path):
    make_trainer(tmp_path).run(1)
    with pytest.raises((ValueError, KeyError)):
        resumed(tmp_path, training=changed(optimizer="adamw"))


def test_without_ingredients_a_run_is_the_plain_loop_to_the_bit(tmp_path):
    trainer = make_trainer(tmp_path)
    torch.manual_seed(0)
    model = C2D(dataclasses.replace(TINY, dropout=0.5)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2], 0.1)
    for epoch in range(3):
        for step, batch in enumerate(trainer.source.epoch(epoch), start=3 * epoch + 1):
            torch.manual_seed(int(np.random.SeedSequence([0, step, 0]).generate_state(1)[0]))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(batch.clip), batch.label).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 40.0)
            optimizer.step()
        schedule.step()
    trainer.run(3)
    assert all(torch.equal(value, trainer.model.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    "name", ["demo", "k400_8x8", "k400_8x8_nopool", "k400_8x8_nopool_r101", "k400_16x4", "k400_8x8_nonlocal"]
)
def test_published_recipes_ask_for_none(name):
    recipe = load_pipe(name).recipe
    kept = ("lr", "lr_batch", "clips_per_gpu", "epochs", "milestones", "weights")
    plain = Training(**{field: getattr(recipe.training, field) for field in kept})
    assert (recipe.training, recipe.augment, recipe.labels, recipe.distill) == (plain, Augment(), Labels(), None)
    assert recipe.clip.sampling == "dense"
