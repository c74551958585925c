"""C2D ResNet-50, 8 frames x interval 8, with temporal pool, fine-tuned on HMDB-51 from a checkpoint of Kinetics-400.

**No accuracy is claimed**: this project has not trained it. Source, as read: MMAction2's SlowOnly,
configs/recognition/slowonly/slowonly_k400_pretrained_r50_8x4x1_40e_hmdb51_rgb.py, has the schedule of its UCF-101. So has this
recipe: all but the number of classes is as in ucf101_8x8.py, which says what is the source's and what is our choice.

    python -m c2d_fast.train --pipe hmdb51_8x8 --weights k400.pt --new-head --train-list train.txt --val-list val.txt
"""

from dataclasses import replace

from dali_pipes.ucf101_8x8 import RECIPE as UCF_101
from dali_pipes.ucf101_8x8 import eval_pipe, train_pipe

RECIPE = replace(UCF_101.with_num_classes(51), name="hmdb51_8x8")

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]
