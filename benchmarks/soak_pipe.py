"""The pipe file that benchmarks/soak.py trains: ResNet-18, 2 frames of 40 pixels, two classes, as cheap as a step can be.

python benchmarks/soak.py
"""

from dataclasses import replace

from dali_pipes.demo import RECIPE as DEMO
from dali_pipes.k400_8x8 import eval_pipe, train_pipe

RECIPE = replace(
    DEMO,
    name="soak",
    model=replace(DEMO.model, num_classes=2),
    crop=replace(DEMO.crop, size=40, train_short_side=48, test_short_side=40),
    generated_data=False,
)

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]
