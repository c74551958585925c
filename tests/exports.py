"""Models whose exported files tell something, and the command that exports them."""

import torch

from c2d_fast.commands import run_export
from c2d_fast.export import parse
from c2d_fast.model import checkpoint, compared
from c2d_fast.model.c2d import C2D

CARD = {
    "classes": ["a", "b", "c"],
    "progress": {"epoch": 7, "best_top1": 50.0, "best_epoch": 6},
    "lists": [{"path": "train.txt", "sha256": "0" * 64}],
    "versions": {"torch": "2.10.0"},
}


def lively(recipe, seed=0):
    """A model whose norms and classifier are not those of a fresh one: logits are of the order of 5."""
    torch.manual_seed(seed)
    model = C2D(recipe.model)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # takes what the clips have: a fresh model's numbers grow from layer to layer
        torch.nn.init.uniform_(norm.weight, 0.3, 1)
    for block in model.nonlocal_blocks.values():  # fresh ones change nothing
        torch.nn.init.uniform_(block.bn.weight, 0.1, 0.2)
    clips = clips_of(recipe, 4)
    with torch.no_grad():
        model(clips)
        model.eval().fc.weight *= 5 / model(clips).abs().max()
        model.fc.bias.uniform_(-1, 1)
    return model


def clips_of(recipe, count):
    """The first clips of an endless row."""
    shape = (recipe.clip.num_frames, recipe.crop.size, recipe.crop.size)
    return torch.cat([torch.from_numpy(compared.random_clips(1, shape, seed)) for seed in range(100, 100 + count)])


def save(model, recipe, path):
    """Writes a checkpoint; recipe: plain values."""
    content = {"model": model.state_dict(), "optimizer": {"state": {}}, "scaler": {}, "recipe": recipe}
    checkpoint.save(content | CARD, path)
    return path


def run(*args):
    run_export.run_export(parse([str(arg) for arg in args]))


def run_onnx(path, clips, *names):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(list(names) or None, {"clips": clips.numpy()})
