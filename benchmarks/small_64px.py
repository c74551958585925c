"""The pipe file that benchmarks/precision.py trains: ResNet-18, 2 frames of 64 pixels, eight generated classes.

python benchmarks/precision.py
"""

from c2d_fast.recipe import Clip, Crop, Model, Recipe, Training
from dali_pipes.k400_8x8 import eval_pipe, train_pipe

RECIPE = Recipe(
    name="small_64px",
    model=Model(depth=18, temporal_pool=True, dropout=0.2, num_classes=8),
    clip=Clip(num_frames=2, interval=8),
    crop=Crop(size=64, train_short_side=72, test_short_side=64, scales=(1.0, 0.875)),
    training=Training(lr=0.003, lr_batch=8, clips_per_gpu=8, epochs=25, milestones=(19, 23), weights="none"),
)

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]
