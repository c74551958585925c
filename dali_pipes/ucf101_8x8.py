"""C2D ResNet-50, 8 frames x interval 8, with temporal pool, fine-tuned on UCF-101 from a checkpoint of Kinetics-400.

**No accuracy is claimed**: this project has not trained it. Sources, as read, of MMAction2 (configs/recognition):

- SlowOnly, slowonly/slowonly_k400_pretrained_r50_8x4x1_40e_ucf101_rgb.py: 40 epochs, a tenth of the rate after 15 and 30, rate
  0.001 for 8 GPUs x 8 clips, gradients clipped at 20, mirrored. Momentum and weight decay are in _base_/schedules/sgd_50e.py.
- TSM, tsm/tsm_k400_pretrained_r50_1x1x8_25e_ucf101_rgb.py: crops of the same scales as here.

Our choice: clips and crops of k400_8x8.py, as the checkpoint knows them (SlowOnly has interval 4 and another crop), and its
dropout. It starts from a checkpoint that you give; without --weights it would start from ImageNet, for which the schedule is
short.

    python -m c2d_fast.train --pipe ucf101_8x8 --weights k400.pt --new-head --train-list train.txt --val-list val.txt
"""

from dataclasses import replace

from dali_pipes.k400_8x8 import RECIPE as KINETICS_400
from dali_pipes.k400_8x8 import eval_pipe, train_pipe

RECIPE = replace(
    KINETICS_400.with_num_classes(101),  # which drops what is published
    name="ucf101_8x8",
    training=replace(
        KINETICS_400.training,  # momentum 0.9 and weight decay 1e-4 are SlowOnly's, too
        lr=0.001,  # SlowOnly
        lr_batch=64,  # SlowOnly: 8 GPUs x 8 clips
        epochs=40,  # SlowOnly
        milestones=(15, 30),  # SlowOnly
        clip_grad_norm=20.0,  # SlowOnly
    ),
)

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]
