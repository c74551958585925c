"""C2D ResNet-50, 16 frames x interval 4, with temporal pool.

Source: MMAction2 model zoo, C2D, Kinetics-400 (after "Non-local Neural Networks").
Published with 10 clips x 3 crops: top-1 74.97 %, top-5 91.91 %. All else is as in k400_8x8.py.

    python -m c2d_fast.train --pipe dali_pipes/k400_16x4.py --data-root DIR --train-list train.txt --val-list val.txt
"""

from dataclasses import replace

from c2d_fast.recipe import Clip, Published
from dali_pipes.k400_8x8 import RECIPE as EIGHT_FRAMES
from dali_pipes.k400_8x8 import eval_pipe, train_pipe

RECIPE = replace(
    EIGHT_FRAMES,
    name="k400_16x4",
    clip=Clip(num_frames=16, interval=4),
    published=Published(top1=74.97, top5=91.91, gmac_per_clip=38.58, parameters=24_327_632),
)

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]
