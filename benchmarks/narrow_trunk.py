"""A ResNet-18 of a quarter of the width, for benchmarks that train very often. Importing this makes it known to recipes."""

from typing import Any

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from c2d_fast import recipe
from c2d_fast.model import c2d

DEPTH = 9
"""What a recipe's model has as its depth, which no published ResNet has."""
_FEATURES = 128


class _Narrow(ResNet):
    def _make_layer(self, block: Any, planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        return super()._make_layer(block, planes // 4, *args, **kwargs)


def narrow_trunk(weights: None = None) -> ResNet:
    """Makes one, as torchvision's functions do."""
    trunk = _Narrow(BasicBlock, [2, 2, 2, 2])
    trunk.fc = nn.Linear(_FEATURES, 1000)
    return trunk


recipe._BLOCKS[DEPTH] = (2, 2, 2, 2)
c2d._TRUNKS[DEPTH] = narrow_trunk
