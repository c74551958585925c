"""The demo's recipe, smaller still: 2 frames of 32 pixels of two classes, dropout, and a ResNet-10 an eighth as wide.

The model is what the tests of whole runs do not test: this one is saved, read and trained in a tenth of a ResNet-18's time.
"""

from dataclasses import replace

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from c2d_fast import recipe
from c2d_fast.model import c2d
from dali_pipes.demo import RECIPE as DEMO
from dali_pipes.k400_8x8 import eval_pipe, train_pipe

__all__ = ["RECIPE", "eval_pipe", "train_pipe"]

DEPTH = 10


class Narrow(ResNet):
    """A ResNet of which all stages are narrower than the stem."""

    def _make_layer(self, block, planes, *args, **kwargs):
        return super()._make_layer(block, planes // 8, *args, **kwargs)


def narrow(weights=None):
    """Makes one, as torchvision's functions do."""
    trunk = Narrow(BasicBlock, [1, 1, 1, 1])
    trunk.fc = nn.Linear(64, 1000)
    return trunk


recipe._BLOCKS[DEPTH] = (1, 1, 1, 1)
c2d._TRUNKS[DEPTH] = narrow

RECIPE = replace(
    DEMO,
    name="tiny",
    model=replace(DEMO.model, depth=DEPTH, num_classes=2, dropout=0.5),
    crop=replace(DEMO.crop, size=32, train_short_side=40, test_short_side=32),
    training=replace(DEMO.training, milestones=(1,)),
    generated_data=False,
)
