"""C2D ResNet-50, 8 frames x interval 8, with temporal pool: k400_8x8_plus.py, and a teacher is learnt from.

**No accuracy is claimed**: this project has not trained it on Kinetics. What it did elsewhere, on Kinetics-400:

- TSN-ResNet-50 with a TSN-Swin as teacher (79.22): 74.12 -> 75.54 (MMAction2, projects/knowledge_distillation/README.md). The
  loss there is DIST, with tau 1 and weight 4 (configs/kd_logits_tsn-swin_tsn-r50_8xb16_k400.py); here it is that of Hinton et
  al. (2015).
- PP-TSM with dense sampling: 75.69 -> 76.16 (PaddleVideo, en/model_zoo/recognition/pp-tsm.md).

The teacher is a checkpoint, whose model is computed beside the student's,

    python -m c2d_fast.train --pipe k400_8x8_plus_distilled --teacher teacher.pt --train-list train.txt --val-list val.txt

or scores that it gave once to the training videos, which cost nothing while one trains. Any model's will do:

    python -m c2d_fast.test --pipe k400_8x8_nopool_r101 --checkpoint teacher.pt --list train.txt --dump teacher.pkl
    python -m c2d_fast.train --pipe k400_8x8_plus_distilled --teacher teacher.pkl --train-list train.txt --val-list val.txt
"""

from dataclasses import replace

from c2d_fast.recipe import Distill
from dali_pipes.k400_8x8_plus import RECIPE as PLUS
from dali_pipes.k400_8x8_plus import eval_pipe, train_pipe

RECIPE = replace(
    PLUS,
    name="k400_8x8_plus_distilled",
    distill=Distill(
        weight=0.5,  # our choice: as much of the teacher as of the labels
        temperature=1.0,  # as tau in MMAction2
    ),
)

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]
