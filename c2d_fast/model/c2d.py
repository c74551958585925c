"""C2D: a ResNet applied to every frame, with the frames brought together by pooling. Figures: docs and recipes."""

from typing import cast

import torch
import torchvision
from torch import Tensor, nn

from c2d_fast import recipe
from c2d_fast.model.nonlocal_block import NonlocalBlock

# ImageNet's mean and deviation on the 0..255 scale, RGB, as the published checkpoints expect.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)

_TRUNKS = {18: torchvision.models.resnet18, 50: torchvision.models.resnet50, 101: torchvision.models.resnet101}


class C2D(nn.Module):
    """The C2D classifier.

    Parameters carry torchvision's ResNet names (conv1, bn1, layer1..4, fc), so its checkpoints load as they are.
    Weights are kept channels-last. The classifier starts as N(0, 0.01) with zero bias, the trunk as torchvision starts it.
    """

    mean: Tensor
    inverse_std: Tensor

    def __init__(self, model: recipe.Model):
        super().__init__()
        if model.depth not in _TRUNKS:
            raise ValueError(f"depth ({model.depth}) must be one of {sorted(_TRUNKS)}")
        trunk = _TRUNKS[model.depth](weights=None)
        self.temporal_pool = model.temporal_pool
        self.conv1, self.bn1, self.relu = trunk.conv1, trunk.bn1, trunk.relu
        # With temporal pool the published stem pools without padding: 112 -> 55, where the ordinary one gives 56.
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=0 if model.temporal_pool else 1)
        self.layer1, self.layer2, self.layer3, self.layer4 = trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4
        # Beside the trunk, not in it: its parameters keep torchvision's names.
        self.nonlocal_blocks = nn.ModuleDict(
            {
                f"layer{stage}_{block}": NonlocalBlock(_width(trunk, stage, block), model.nonlocal_affinity)
                for stage, block in model.nonlocal_after
            }
        )
        self.dropout = nn.Dropout(model.dropout)
        self.fc = nn.Linear(trunk.fc.in_features, model.num_classes)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)
        # Not in the state dict: they are constants of the recipe, not learnt.
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("inverse_std", 1 / torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)

    def forward(self, clip_NTHWC: Tensor) -> Tensor:  # noqa: N803
        """Classifies clips.

        Args:
            clip_NTHWC: RGB 0..255, uint8 [N, T, H, W, C], contiguous.

        Returns:
            Logits, float32 [N, num_classes].
        """
        return self.classify(self.features(clip_NTHWC))

    def classify(self, features: Tensor) -> Tensor:
        """Classifies features, float32 [N, C], after dropout while training. Logits, float32 [N, num_classes]."""
        logits: Tensor = self.fc(self.dropout(features))
        return logits.float()

    def features(self, clip_NTHWC: Tensor) -> Tensor:  # noqa: N803
        """Describes clips by what the classifier is given, before its dropout: the last layer averaged over space and time.

        Args:
            clip_NTHWC: RGB 0..255, uint8 [N, T, H, W, C], contiguous.

        Returns:
            float32 [N, C]; C is fc.in_features: 512 of a ResNet-18, 2048 of the deeper ones.
        """
        num_clips, num_frames = clip_NTHWC.shape[:2]
        # The loader's bytes seen as [N*T, C, H, W] are channels-last already: no copy.
        x = clip_NTHWC.flatten(0, 1).permute(0, 3, 1, 2)
        # In float32 also under autocast, whose half formats would round the mean; the compiler fuses it with the cast.
        x = (x.float() - self.mean) * self.inverse_std
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            for place, block in self.get_submodule(stage).named_children():
                x = block(x)
                if (name := f"{stage}_{place}") in self.nonlocal_blocks:
                    x = self.nonlocal_blocks[name](x, num_frames)
            if stage == "layer1" and self.temporal_pool:
                x = halve_frames(x, num_frames)
                num_frames //= 2
        # Averaged in float32: the mean of hundreds of half-precision numbers is not one itself.
        return x.float().mean((2, 3)).view(num_clips, -1, x.shape[1]).mean(1)


def _width(trunk: nn.Module, stage: int, block: int) -> int:
    """Returns the channels that a block of the trunk puts out."""
    norms = [module for module in trunk.get_submodule(f"layer{stage}.{block}").children() if isinstance(module, nn.BatchNorm2d)]
    return norms[-1].num_features


def halve_frames(x: Tensor, num_frames: int) -> Tensor:
    """Max pool over time, kernel 2, stride 2, on folded frames: [N*T, C, H, W] -> [N*(T // 2), C, H, W], same layout.

    An elementwise maximum of two views, since 3-D pooling would copy a channels-last tensor into another layout.
    """
    pairs = num_frames // 2
    clips = x.view(-1, num_frames, *x.shape[1:])
    return torch.maximum(clips[:, 0 : 2 * pairs : 2], clips[:, 1 : 2 * pairs : 2]).flatten(0, 1)


def compile_model(model: nn.Module, requested: bool | None, device: torch.device) -> nn.Module:
    """Returns the model as it is computed: compiled where asked for, by default on a GPU. The parameters are shared."""
    if requested if requested is not None else device.type == "cuda":
        return cast(nn.Module, torch.compile(model, dynamic=False))
    return model
