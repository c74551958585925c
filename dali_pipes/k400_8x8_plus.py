"""C2D ResNet-50, 8 frames x interval 8, with temporal pool: k400_8x8.py, trained with what later work has found to help.

**No accuracy is claimed**: this project has not trained it on Kinetics. Each line below says where it comes from. Sources, as
read:

- PP-TSM, PaddleVideo's TSM-ResNet-50. Early versions of its guide (en/tutorials/pp-tsm.md) say what each change brought:
  label smoothing +0.2, learning rate decay +0.15, augmentation +0.3, strategy of the batch normalisation +0.4, weight decay
  +0.3, batch +0.2, epochs +0.15, ImageNet weights that were distilled +1.3. The guide of PP-TSMv2 says of the augmentation
  that two videos are mixed, and has +0.3 for it, too. PP-TSM's settings:
  configs/recognition/pptsm/pptsm_k400_frames_dense.yaml and paddlevideo/modeling/backbones/resnet_tweaks_tsm.py.
- PySlowFast's C2D: configs/Kinetics/C2D_8x8_R50.yaml. MMAction2's SlowOnly: slowonly_r50_video_8x8x1_256e_kinetics700_rgb.py.

What is left out, and why:

- The strategy of the batch normalisation is preciseBN in PP-TSM's Chinese guide: statistics computed anew from 200 batches.
  This project has no such step. What is taken is that norms do not decay, which has no figure of its own.
- ImageNet weights that were distilled: those of torchvision (IMAGENET1K_V2) stay.
- RandAugment: on Kinetics-400, at 100 epochs, +0.33 for TSN (2-D) and -0.25 for I3D (3-D) (too little to tell), with a
  training loss that was 0.4 to 0.5 higher (MMAction2, pull request 585). TrivialAugment, colour, erasing, cutmix: no figure
  found.
- EMA: no figure found for such a model. Try it: --set training.ema=0.999.

    python -m c2d_fast.train --pipe dali_pipes/k400_8x8_plus.py --data-root DIR --train-list train.txt --val-list val.txt
"""

from dataclasses import replace

from c2d_fast.recipe import Augment
from dali_pipes.k400_8x8 import RECIPE as PLAIN
from dali_pipes.k400_8x8 import eval_pipe, train_pipe

RECIPE = replace(
    PLAIN,
    name="k400_8x8_plus",
    training=replace(
        PLAIN.training,  # rate, batch, epochs, weight decay: of the published recipe, so that the rest can be compared
        schedule="cosine",  # PP-TSM ("better lr decay"), PySlowFast
        milestones=(),
        final_factor=0.0,  # MMAction2's SlowOnly (eta_min)
        warmup_epochs=10,  # PP-TSM: 10 of its 80; PySlowFast: 34 of 196
        warmup_factor=0.5,  # PP-TSM: from 0.01 to 0.02
        label_smoothing=0.1,  # PP-TSM (ls_eps)
        decay_norms=False,  # PP-TSM (L2Decay(0.0) on both of its norms), PySlowFast (BN.WEIGHT_DECAY)
    ),
    augment=Augment(mixup=0.2),  # PP-TSM (MIX, alpha)
    published=None,
)

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]
