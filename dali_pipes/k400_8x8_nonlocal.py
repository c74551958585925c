"""C2D ResNet-50, 8 frames x interval 8, with temporal pool and five non-local blocks (two in res3, three in res4).

Source: "Non-local Neural Networks"; all else is as in k400_8x8.py. No result is published for just this model.

    python -m c2d_fast.train --pipe dali_pipes/k400_8x8_nonlocal.py --data-root DIR --train-list train.txt --val-list val.txt
"""

from dataclasses import replace

from dali_pipes.k400_8x8 import RECIPE as C2D
from dali_pipes.k400_8x8 import eval_pipe, train_pipe

RECIPE = replace(
    C2D,
    name="k400_8x8_nonlocal",
    model=replace(C2D.model, nonlocal_after=((2, 1), (2, 3), (3, 1), (3, 3), (3, 5))),
    published=None,
)

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]
