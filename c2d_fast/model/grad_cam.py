"""Grad-CAM: which places of which frames of a clip speak for a class. By the library pytorch_grad_cam (package grad-cam).

Selvaraju et al., 2017: the channels of the last stage, weighted by the class's gradient and added up, as far as positive.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from c2d_fast.errors import UserError
from c2d_fast.model.c2d import C2D
from c2d_fast.versions import failed_imports

_PACKAGES = ("cv2", "pytorch_grad_cam")
_STRIDE_PX = 32  # of the last stage


def check_packages(what: str) -> None:
    """Says early that a package is missing: everything else works without them.

    Raises:
        UserError: one does not import.
    """
    if reasons := failed_imports(_PACKAGES):
        raise UserError(f"{what}: needs packages that do not import: {reasons}; pip install 'c2d-fast[explain]'")


def class_maps(model: C2D, clip_NTHWC: Tensor, label: int) -> NDArray[np.float32]:  # noqa: N803
    """Returns a map of each frame of a clip: what of the model's last stage speaks for a class.

    The maps of a clip are scaled together: frames without evidence stay cold. With temporal pool two frames have one map, and
    the last of an odd number, which the model does not see, has zeros. Computed in float32, in eval mode.

    Args:
        model: as it was built, not compiled; gets its gradients and its mode back.
        clip_NTHWC: one clip, RGB 0..255, uint8 [1, T, H, W, C], on the model's device.
        label: the class.

    Returns:
        float32 [T, h, w], 0..1, where 1 is the clip's strongest place; all zeros where nothing speaks for the class. h and w
        are the last stage's: map_centres says where its cells lie.
    """
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    assert len(clip_NTHWC) == 1
    layer, frames = _last_block(model), clip_NTHWC.shape[1]
    required = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    was_training = model.training
    # From the last block on is all that the gradient needs: the layers before keep nothing.
    model.requires_grad_(False)
    layer.requires_grad_(True)
    cam: Any = GradCAM(model, [layer], _clip_as_volume)
    cam.get_target_width_height = lambda _: None  # the maps stay as small as they are: where their cells lie it does not know
    try:
        with torch.enable_grad():
            (maps,) = cam(clip_NTHWC, [ClassifierOutputTarget(label)])
    finally:
        cam.activations_and_grads.release()
        model.zero_grad(set_to_none=True)
        model.train(was_training)
        for parameter, requires in required:
            parameter.requires_grad_(requires)
    if maps.max() > 0:
        maps = maps / maps.max()  # the library adds something to what it divides by: of small gradients that is much
    found = np.zeros((frames, *maps.shape[1:]), np.float32)
    each = maps.repeat(2, 0) if model.temporal_pool else maps
    found[: len(each)] = each
    return found


def map_centres(size: int, count: int, *, temporal_pool: bool) -> NDArray[np.float64]:
    """Returns which point of the model's input the cells of a map look at: the middle of what they see, in pixels, [count].

    They are not in the middles of equal parts of the picture: each convolution with stride begins at the first pixel. Without
    padding in the stem's pooling (models with temporal pool) all lie half a pixel of its output further on.

    Args:
        size: side of the input in pixels; pixel k reaches from k to k + 1.
        count: cells of a map's row or column.
        temporal_pool: of the model.
    """
    centres: NDArray[np.float64] = _STRIDE_PX * np.arange(count, dtype=np.float64) + (2.5 if temporal_pool else 0.5)
    assert not count or centres[-1] < size
    return centres


def _last_block(model: C2D) -> nn.Module:
    """Returns the module whose output is averaged: layer4 is never called itself, only its blocks are."""
    place, block = list(model.layer4.named_children())[-1]
    name = f"layer4_{place}"
    return model.nonlocal_blocks[name] if name in model.nonlocal_blocks else block  # noqa: SIM401 (a ModuleDict has no get)


def _clip_as_volume(folded: Tensor) -> Tensor:
    """Shows the library the folded frames of one clip, [T', C, h, w], as [1, C, T', h, w]: weights are those of the clip."""
    return folded.transpose(0, 1)[None]
