"""C2D ResNet-50, 8 frames x interval 8, without temporal pool: the plain trunk, less dropout.

Source: MMAction2 model zoo, C2D, Kinetics-400 (after "Non-local Neural Networks").
Published with 10 clips x 3 crops: top-1 73.44 %, top-5 91.00 %. All else is as in k400_8x8.py.

    python -m c2d_fast.train --pipe dali_pipes/k400_8x8_nopool.py --data-root DIR --train-list train.txt --val-list val.txt
"""

from dataclasses import replace

from c2d_fast.recipe import Model, Published
from dali_pipes.k400_8x8 import RECIPE as POOLED
from dali_pipes.k400_8x8 import eval_pipe, train_pipe

RECIPE = replace(
    POOLED,
    name="k400_8x8_nopool",
    model=Model(depth=50, temporal_pool=False, dropout=0.4, num_classes=400),
    published=Published(top1=73.44, top5=91.00, gmac_per_clip=32.70, parameters=24_327_632),
)

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]
