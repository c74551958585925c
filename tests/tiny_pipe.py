"""The demo's recipe, smaller still: 2 frames of 32 pixels of two classes, and dropout."""

from dataclasses import replace

from dali_pipes.demo import RECIPE as DEMO
from dali_pipes.k400_8x8 import eval_pipe, train_pipe

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]

RECIPE = replace(
    DEMO,
    name="tiny",
    model=replace(DEMO.model, num_classes=2, dropout=0.5),
    crop=replace(DEMO.crop, size=32, train_short_side=40, test_short_side=32),
    training=replace(DEMO.training, milestones=(1,)),
    generated_data=False,
)
