"""What a model sees of a window, and what it says of it: of long videos and of streams."""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from c2d_fast.commands.dataset import choose_device
from c2d_fast.commands.window_scores import Clips
from c2d_fast.errors import UserError
from c2d_fast.loading import sampler
from c2d_fast.model.c2d import C2D, compile_model
from c2d_fast.model.precision import Precision
from c2d_fast.recipe import Recipe
from c2d_fast.video.crops import cut_crop

BATCH = 8
"""Windows that are scored together, where nothing else is said."""
_SECONDS = 2.0
_LEAST_STRIDE_S, _MOST_OPEN = 0.001, 1000

Scorer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Returns the probabilities of clips, uint8 [N, T, H, W, C]: float32 [N, K]."""


def clips_as_asked(args: argparse.Namespace, recipe: Recipe) -> Clips:
    """Returns how windows lie, by --window and --stride.

    Raises:
        UserError: there would be so many that memory does not hold those that have begun.
    """
    window_s = args.window or _SECONDS
    stride_s = args.stride or window_s / 2
    least_s = max(_LEAST_STRIDE_S, window_s / _MOST_OPEN)
    if stride_s < least_s:
        flag, remedy = ("--stride", f"{least_s:g} or more") if args.stride else ("--window", f"{2 * least_s:g} or more")
        given_s = args.stride or window_s
        raise UserError(f"{flag} {given_s:g}: makes too many windows; give {remedy}")
    return Clips(window_s, stride_s, recipe.clip.num_frames)


def window_scorer(args: argparse.Namespace, model: C2D, recipe: Recipe) -> Scorer:
    """Returns what scores windows; the model, which is on the CPU, goes to the device."""
    device = choose_device()
    precision = Precision.choose(args.precision, device)
    network = compile_model(model.to(device).eval(), args.compile, device)
    return partial(_probabilities, network, precision, device, several=recipe.labels.kind == "several")


def _probabilities(
    network: nn.Module, precision: Precision, device: torch.device, clips: NDArray[np.uint8], *, several: bool
) -> NDArray[np.float32]:
    with torch.inference_mode(), precision.autocast(device):
        logits = network(torch.from_numpy(clips).to(device)).float()
    found: NDArray[np.float32] = (logits.sigmoid() if several else logits.softmax(1)).cpu().numpy()
    return found


def centre_crop(recipe: Recipe) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Returns what cuts out of a frame what validation sees of it: uint8 [size, size, C]."""
    crop = recipe.crop

    def cut(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        scaled = sampler.scaled_size(width, height, crop.train_short_side)
        box = sampler.relative_box(sampler.centre_box(*scaled, crop.size), *scaled)
        is_scaled = min(height, width) == crop.train_short_side
        square: NDArray[np.uint8] = cut_crop([image], box, crop.size, flip=False, is_scaled=is_scaled)[0]
        return square

    return cut
