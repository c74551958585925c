"""Counts what a recipe's model costs and prints it."""

import argparse
import warnings

import torch
from torch.utils.flop_counter import FlopCounterMode

from c2d_fast.model import C2D
from c2d_fast.recipe import Recipe, load_pipe


def run_info(args: argparse.Namespace) -> None:
    """Prints what the recipe's model is and costs.

    Raises:
        UserError: the pipe file cannot be loaded.
    """
    pipe = load_pipe(args.pipe)
    recipe, published = pipe.recipe, pipe.recipe.published
    parameters, gmac = count(recipe)
    rows = [("", "counted here", "published")]
    rows.append(("parameters", f"{parameters / 1e6:.6f} M", f"{published.parameters / 1e6:.6f} M" if published else "-"))
    rows.append(("GMAC / clip", f"{gmac:.2f}", f"{published.gmac_per_clip:.2f}" if published else "-"))
    if published:
        rows.append(("top-1, 10x3", "-", f"{published.top1:.2f} %"))
        rows.append(("top-5, 10x3", "-", f"{published.top5:.2f} %"))
    print(f"{recipe.name} ({pipe.path}): {summary(recipe)}")
    for name, here, there in rows:
        print(f"{name:<13}{here:>14}{there:>14}")


def summary(recipe: Recipe) -> str:
    """Returns the recipe's model and clip in one line."""
    model, clip, size = recipe.model, recipe.clip, recipe.crop.size
    pool = "with" if model.temporal_pool else "without"
    blocks = f", {len(model.nonlocal_after)} non-local blocks" if model.nonlocal_after else ""
    return (
        f"ResNet-{model.depth} {pool} temporal pool{blocks}, {clip.num_frames} frames x interval {clip.interval}, "
        f"{size}x{size}, {model.num_classes} classes"
    )


def count(recipe: Recipe) -> tuple[int, float]:
    """Counts a recipe's model without computing anything.

    Returns:
        Parameters, and multiply-accumulates of one clip's forward pass in units of 10**9.
    """
    with torch.device("meta"), torch.no_grad(), warnings.catch_warnings(action="ignore"):
        model = C2D(recipe.model).eval()
        shape = (1, recipe.clip.num_frames, recipe.crop.size, recipe.crop.size, 3)
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(shape, dtype=torch.uint8))
    # The counter counts a multiplication and an addition as two.
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() / 2e9
