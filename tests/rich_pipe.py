"""The tiny recipe with about all that a recipe can ask for beside the published one."""

from dataclasses import replace

from tiny_pipe import RECIPE as TINY

from c2d_fast.recipe import Augment, Distill, Labels
from dali_pipes.k400_8x8 import eval_pipe, train_pipe

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]

RECIPE = replace(
    TINY,
    name="rich",
    training=replace(
        TINY.training,
        schedule="cosine",
        milestones=(),
        warmup_epochs=0.5,
        label_smoothing=0.1,
        decay_norms=False,
        layer_decay=0.9,
        ema=0.8,
    ),
    augment=Augment(mixup=0.3, cutmix=1.0, color=(0.2, 0.2, 0.2, 0.1), erase=0.5, policy="trivialaugment"),
    labels=Labels(balance=True),
    distill=Distill(weight=0.3, temperature=2.0),
)
