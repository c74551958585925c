"""C2D ResNet-101, 8 frames x interval 8, without temporal pool.

Source: MMAction2 model zoo, C2D, Kinetics-400 (after "Non-local Neural Networks").
Published with 10 clips x 3 crops: top-1 74.97 %, top-5 91.77 %. All else is as in k400_8x8_nopool.py.

    python -m c2d_fast.train --pipe dali_pipes/k400_8x8_nopool_r101.py --data-root DIR --train-list train.txt --val-list val.txt
"""

from dataclasses import replace

from c2d_fast.recipe import Published
from dali_pipes.k400_8x8_nopool import RECIPE as RESNET_50
from dali_pipes.k400_8x8_nopool import eval_pipe, train_pipe

RECIPE = replace(
    RESNET_50,
    name="k400_8x8_nopool_r101",
    model=replace(RESNET_50.model, depth=101),
    published=Published(top1=74.97, top5=91.77, gmac_per_clip=62.40, parameters=43_319_760),
)

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]
