"""A small C2D that trains on a CPU in minutes: ResNet-18, 2 frames of 56 pixels, on generated videos of eight classes.

Data: `python -m c2d_fast.prepare demo` (made by itself when no data flags are given). Expected: validation top-1 95.8 %
in the best of 25 epochs with seed 0, measured on two CPU cores in about three minutes.

    python -m c2d_fast.train --pipe dali_pipes/demo.py
"""

from c2d_fast.recipe import Clip, Crop, Model, Recipe, Training
from dali_pipes.k400_8x8 import eval_pipe, train_pipe

RECIPE = Recipe(
    name="demo",
    model=Model(depth=18, temporal_pool=True, dropout=0.2, num_classes=8),
    clip=Clip(num_frames=2, interval=8),
    crop=Crop(size=56, train_short_side=64, test_short_side=56, scales=(1.0, 0.875)),
    training=Training(lr=0.003, lr_batch=8, clips_per_gpu=8, epochs=25, milestones=(19, 23), weights="none"),
    expected_top1=95.8,
    generated_data=True,
)

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]
