"""C2D ResNet-50, 8 frames x interval 8, with temporal pool, on Kinetics-700: 700 classes, all else as in k400_8x8.py.

**No accuracy is claimed**, and no C2D of Kinetics-700 was found published. The number of classes is the data set's. To keep
schedule and rate is our choice. MMAction2 does so with another model: its SlowOnly 8x8 has the same schedule on Kinetics-700
and Kinetics-600 (slowonly_r50_video_8x8x1_256e_kinetics700_rgb.py).

    python -m c2d_fast.train --pipe dali_pipes/k700_8x8.py --data-root DIR --train-list train.txt --val-list val.txt
"""

from dataclasses import replace

from dali_pipes.k400_8x8 import RECIPE as KINETICS_400
from dali_pipes.k400_8x8 import eval_pipe, train_pipe

RECIPE = replace(KINETICS_400.with_num_classes(700), name="k700_8x8")  # which drops what is published

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]
