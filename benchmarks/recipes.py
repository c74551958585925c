"""Recipes as results show them; and on a machine without DALI: what a model is made of needs none."""

import sys
from pathlib import Path
from typing import Any
from unittest import mock

from c2d_fast.recipe import Recipe, load_pipe

_LEFT_OUT = ("nvidia.dali", "c2d_fast.loading.decode")
"""All that a pipe file imports beside the recipe's own classes: the one is not installed, and the other imports it."""


def load_recipe(path: Path) -> Recipe:
    """Returns what a pipe file declares as its RECIPE; its graphs are made of stand-ins, and let go of.

    Raises:
        UserError: the file does not import, or declares none.
    """
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in _LEFT_OUT}):
        return load_pipe(path).recipe


def pipe_row(path: Path, recipe: Recipe) -> dict[str, Any]:
    """Returns what is known of a recipe before it is measured: plain values."""
    published = recipe.published
    return {
        "pipe": path.name,
        "published_top1": published.top1 if published else None,
        "published_top5": published.top5 if published else None,
    }


def verdict(row: dict[str, Any], stages: dict[str, float]) -> dict[str, Any]:
    """Returns how close both together come to the slower alone, and what bounds them."""
    rates = {name: row[name]["clips_per_s"] for name in ("loader", "model", "both") if name in row}
    found: dict[str, Any] = {}
    if len(rates) == 3:
        found["both_to_slower"] = round(rates["both"] / min(rates["loader"], rates["model"]), 3)
    if "loader" in rates and ("model" not in rates or rates["loader"] < rates["model"]):
        found["bound_by"] = "loader"
        if not stages:
            return found
        costs = {"IO": stages.get("read", 0), "decode": stages.get("decode", 0), "augment": stages.get("augment", 0)}
        costs["transfer"] = row.get("transfer_ms_per_clip", 0)
        found["bound_by"] = max(costs, key=lambda name: costs[name])
    elif "model" in rates:
        found["bound_by"] = "model"
    return found
