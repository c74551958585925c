"""The commands from file to score on a GPU, and one training step of every published recipe, compiled and not.

First the tests of the step itself: where they fail, nothing else needs to be looked at (benchmarks/gpu_stages.py train). What
compiles comes last: it takes a minute for each.
"""

import os
import time
from dataclasses import replace

import pytest
import torch
from media import make_dataset
from torch.nn import functional as F

from c2d_fast.model.c2d import C2D
from c2d_fast.model.precision import Precision
from c2d_fast.recipe import Augment, Distill, Labels, load_pipe
from c2d_fast.training.schedule import make_optimizer

PIPES = ("demo", "k400_8x8", "k400_8x8_nopool", "k400_8x8_nopool_r101", "k400_16x4", "k400_8x8_nonlocal")


def note_layouts(model):
    """Notes whether what enters and leaves every stage of the trunk is channels-last."""
    layouts = {}

    def note(name):
        def hook(module, inputs, output):
            layouts[name] = all(t.is_contiguous(memory_format=torch.channels_last) for t in (inputs[0], output))

        return hook

    handles = [getattr(model, n).register_forward_hook(note(n)) for n in ("conv1", "maxpool", "layer1", "layer2", "layer4")]
    return layouts, handles


def test_a_training_step_does_not_wait_for_the_gpu(cuda, tmp_path):
    from toy import make_trainer

    from c2d_fast.reporting.gallery import Gallery
    from c2d_fast.training.metrics import RunningMetrics

    trainer = make_trainer(tmp_path / "run", depth=18, precision="bf16")
    trainer.model.to(cuda)
    trainer.step.optimizer = make_optimizer(trainer.model, trainer.training, 0.01)
    assert trainer.step.optimizer.defaults["fused"]
    batches = [
        type(b)(*(getattr(b, name).to(cuda) for name in ("clip", "label", "index", "valid"))) for b in trainer.source.epoch(0)
    ]
    metrics = RunningMetrics(cuda)
    trainer.step.gallery = Gallery(4)
    trainer.step(iter(batches), 1, metrics)  # the first makes buffers
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step, batch in enumerate(batches):
            trainer.step(iter([batch]), step + 2, metrics)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    shown = trainer.step.gallery.pop()
    assert len(shown.labels) == 4
    assert shown.label_scores == sorted(shown.label_scores)


def test_a_step_with_every_ingredient_does_not_wait_for_the_gpu(cuda, tmp_path):
    from toy import TRAINING, make_trainer

    from c2d_fast.training.averaged_weights import AveragedWeights
    from c2d_fast.training.metrics import RunningMetrics
    from c2d_fast.training.mixing import Mixing
    from c2d_fast.training.objective import Objective
    from c2d_fast.training.teacher import StoredTeacher

    trainer = make_trainer(tmp_path / "run", depth=18, precision="bf16")
    step, distill = trainer.step, Distill(weight=0.5, temperature=2.0)
    trainer.model.to(cuda)
    step.optimizer = make_optimizer(trainer.model, replace(TRAINING, optimizer="adamw", decay_norms=False), 0.01)
    step.objective = Objective(3, Labels(ignore=-1), 0.1, True, distill, torch.ones(3, device=cuda))
    step.mixing = Mixing(Augment(mixup=0.2, cutmix=1.0), seed=0)
    step.averaged = AveragedWeights(trainer.model, 0.9)
    step.teacher = StoredTeacher(torch.rand(4, 3, device=cuda).softmax(1), distill.temperature)
    batches = [batch.to(cuda) for batch in trainer.source.epoch(0)]
    metrics = RunningMetrics(cuda)
    step(iter(batches), 1, metrics)  # the first makes buffers
    torch.cuda.set_sync_debug_mode("error")
    try:
        results = [step(iter([batch]), number + 2, metrics) for number, batch in enumerate(batches)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    assert all(result.applied for result in results)
    assert all(value.isfinite().all() for value in step.averaged.model.state_dict().values())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_bad_step_changes_nothing_on_the_gpu(cuda, tmp_path, optimizer):
    from toy import TRAINING, make_trainer

    from c2d_fast.training.metrics import RunningMetrics

    trainer = make_trainer(tmp_path / "run", depth=18, precision="bf16")
    trainer.model.to(cuda)
    trainer.step.optimizer = make_optimizer(trainer.model, replace(TRAINING, optimizer=optimizer), 0.01)
    (batch,) = (b for b, _ in zip(trainer.source.epoch(0), range(1), strict=False))
    batch = type(batch)(*(getattr(batch, name).to(cuda) for name in ("clip", "label", "index", "valid")))
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    handle = trainer.model.fc.register_forward_hook(lambda module, inputs, output: output * float("nan"))
    bad = trainer.step(iter([batch]), 1, RunningMetrics(cuda))
    handle.remove()
    torch.cuda.synchronize()
    assert not bad.applied
    for key, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[key]) or key.endswith("num_batches_tracked"), key
    good = trainer.step(iter([batch]), 2, RunningMetrics(cuda))
    torch.cuda.synchronize()
    assert good.applied
    assert all(value.isfinite().all() for value in trainer.model.state_dict().values())


def test_gauges_read_the_gpu(cuda):
    pytest.importorskip("pynvml")
    from c2d_fast.reporting.gauges import Gauges

    gauges, deadline = Gauges(), time.monotonic() + 20
    while "gpu_memory_mb" not in (figures := gauges.read()) and time.monotonic() < deadline:
        time.sleep(0.05)
    gauges.close()
    assert figures["gpu_memory_mb"] > 0
    assert 0 <= figures["gpu_percent"] <= 100
    assert 0 <= figures["decoder_percent"] <= 100


@pytest.mark.parametrize("decoder", ["auto", "ffmpeg"])
def test_the_commands_on_a_gpu(cuda, tmp_path, run_command, decoder):
    data = make_dataset(tmp_path / "data", count=8, num_frames=(20,), sizes=((160, 96), (96, 160)))
    env = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0")}
    args = ["--pipe", "dali_pipes/demo.py", "--decoder", decoder]
    train = [
        *args,
        "--train-list",
        data,
        "--val-list",
        data,
        "--num-classes",
        2,
        "--batch-size",
        4,
        "--out",
        tmp_path / "run",
    ]
    done = run_command("train", *train, "--epochs", 2, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "steps on cuda:0" in done.stdout
    score = [*args, "--checkpoint", tmp_path / "run" / "best.pt", "--list", data]
    done = run_command("test", *score, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("10x3 top-1 ")


def test_deterministic_runs_on_a_gpu_end_with_the_same_weights(cuda, tmp_path, run_command):
    data = make_dataset(tmp_path / "data", count=8, num_frames=(20,))
    env = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0")}
    args = ["--pipe", "dali_pipes/demo.py", "--decoder", "ffmpeg", "--train-list", data, "--num-classes", 2, "--batch-size", 4]
    for name in "ab":
        done = run_command("train", *args, "--epochs", 3, "--deterministic", "--out", tmp_path / name, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "cuDNN deterministic" in done.stdout
    a, b = (torch.load(tmp_path / name / "last.pt", weights_only=True)["model"] for name in "ab")
    assert all(torch.equal(value, b[key]) for key, value in a.items())


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", PIPES)
def test_a_training_step(cuda, name, compiled):
    torch.compiler.reset()
    torch.manual_seed(0)
    recipe = load_pipe(f"dali_pipes/{name}.py").recipe
    model = C2D(recipe.model).to(cuda)
    shape = (4, recipe.clip.num_frames, recipe.crop.size, recipe.crop.size, 3)
    clip = torch.randint(0, 256, shape, dtype=torch.uint8, device=cuda)
    label = torch.randint(0, recipe.model.num_classes, (4,), device=cuda)
    layouts, handles = note_layouts(model)
    with torch.inference_mode(), Precision("bf16").autocast(cuda):
        model.eval()(clip)
    assert all(layouts.values()), layouts
    for handle in handles:  # hooks would break the compiled graph
        handle.remove()
    optimizer = make_optimizer(model, recipe.training, 0.001)
    forward = torch.compile(model, dynamic=False) if compiled else model
    model.train()
    before = [p.detach().clone() for p in model.parameters()]
    with Precision("bf16").autocast(cuda):
        logits = forward(clip)
    assert logits.dtype == torch.float32
    F.cross_entropy(logits, label).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    weights = [p for p in model.parameters() if p.dim() == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    assert all(p.grad.is_contiguous(memory_format=torch.channels_last) for p in weights)
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.training.clip_grad_norm)
    optimizer.step()
    assert any(not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("temporal_pool", [True, False])
def test_compiled_and_eager_agree(cuda, temporal_pool):
    torch.compiler.reset()
    recipe = load_pipe(f"dali_pipes/{'k400_8x8' if temporal_pool else 'k400_8x8_nopool'}.py").recipe
    torch.manual_seed(0)
    model = C2D(recipe.model).to(cuda).eval()
    clip = torch.randint(0, 256, (2, 8, 224, 224, 3), dtype=torch.uint8, device=cuda)
    with torch.inference_mode(), Precision("bf16").autocast(cuda):
        compiled, eager = torch.compile(model, dynamic=False)(clip), model(clip)
    # Untrained weights give logits far apart; what bf16 may change is measured by their spread.
    assert (compiled - eager).abs().max() < 0.1 * eager.std()
