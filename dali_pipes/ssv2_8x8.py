"""C2D ResNet-50, 8 frames that are spread over the video, with temporal pool, on Something-Something v2.

**No accuracy is claimed**: this project has not trained it. Expect little: the labels tell "pushing from left to right" from
"pushing from right to left", by the order of frames, and C2D sees hardly any order: it takes the larger value of pairs of
frames, and averages.

Source, as read: MMAction2's TSN, configs/recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x8-50e_sthv2-rgb.py, with
_base_/schedules/sgd_50e.py. Nothing is mirrored: labels depend on left and right. The newest version of that file mirrors all
the same; MMAction2's older TSM for these data (tsm/tsm_r50_1x1x8_50e_sthv2_rgb.py) does not, and neither do we.

    python -m c2d_fast.train --pipe dali_pipes/ssv2_8x8.py --data-root DIR --train-list train.txt --val-list val.txt
"""

from dataclasses import replace

from c2d_fast.recipe import Clip
from dali_pipes.k400_8x8 import RECIPE as KINETICS_400
from dali_pipes.k400_8x8 import eval_pipe, train_pipe

RECIPE = replace(
    KINETICS_400.with_num_classes(174),  # which drops what is published
    name="ssv2_8x8",
    clip=Clip(num_frames=8, sampling="uniform"),  # TSN: 8 segments of 1 frame
    crop=replace(KINETICS_400.crop, flip=0.0),  # sizes and scales as in TSN; the flip: see above
    training=replace(
        KINETICS_400.training,  # rate 0.01 for 8 GPUs x 32 clips, momentum 0.9, weight decay 1e-4, ImageNet: TSN's, too
        epochs=50,  # TSN
        milestones=(20, 40),  # TSN
        clip_grad_norm=20.0,  # TSN
    ),
)

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]
