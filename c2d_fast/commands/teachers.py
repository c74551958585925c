"""From --teacher to what a run learns from beside its labels: a checkpoint, or stored scores of the training list."""

import argparse
import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from c2d_fast.commands.run_data import RunData
from c2d_fast.errors import UserError
from c2d_fast.lists.label_map import check_same_classes
from c2d_fast.model.c2d import C2D, compile_model
from c2d_fast.model.model_file import read_model_file
from c2d_fast.model.precision import Precision
from c2d_fast.model.weights import load_checkpoint
from c2d_fast.recipe import Distill
from c2d_fast.reporting.dump_file import read_dump
from c2d_fast.training.teacher import ModelTeacher, StoredTeacher, Teacher

_STORED = (".pkl", ".json")


def check_teacher(given: str | None, distill: Distill | None, recipe_name: str) -> None:
    """Compares --teacher with the recipe.

    Raises:
        UserError: one of them asks for a teacher, and the other does not.
    """
    if given and not distill:
        raise UserError(
            f"--teacher {given}: {recipe_name} learns from none; leave it out, or give --set distill.weight=0.5, too"
        )
    if distill and not given:
        raise UserError(
            f"--teacher is missing: {recipe_name} learns from one; give its checkpoint, or what test --dump wrote of the "
            "training list (or --set distill=none)"
        )


def sha256_of(path: str) -> str:
    """Returns the hash of a teacher's file, by which runs tell it, wherever it lies."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_teacher(args: argparse.Namespace, data: RunData, device: torch.device, precision: Precision) -> Teacher | None:
    """Returns what --teacher names; None without.

    Raises:
        UserError: it cannot be read, or is of other classes or videos.
    """
    distill = data.recipe.distill
    check_teacher(args.teacher, distill, data.recipe.name)
    if not distill:
        return None
    path = Path(args.teacher)
    if path.suffix in _STORED:
        return _stored(path, data, device, distill)
    return _model(path, data, device, precision, distill, compiled=args.compile)


def _model(
    path: Path, data: RunData, device: torch.device, precision: Precision, distill: Distill, *, compiled: bool | None
) -> ModelTeacher:
    what, file, classes = f"--teacher {path}", read_model_file(path, "--teacher"), data.recipe.model.num_classes
    network = distill.teacher or file.model
    if network is None:
        raise UserError(
            f"{what}: does not say what network it is of; give it with --set distill.teacher.depth=50 --set "
            "distill.teacher.temporal_pool=true and so on"
        )
    if file.num_classes != classes:
        raise UserError(f"{what}: has {file.num_classes} classes, the student {classes}; give a teacher of the same classes")
    _check_kind((file.recipe.get("labels") or {}).get("kind"), what)
    if file.classes and data.classes:
        check_same_classes(file.classes, tuple(data.classes), what, "give a teacher of the same classes")
    recipe = dataclasses.replace(data.recipe, name="the teacher", model=dataclasses.replace(network, num_classes=classes))
    model = C2D(recipe.model)
    load_checkpoint(model, file, recipe, what)
    print(f"teacher: {path}, ResNet-{network.depth} {'with' if network.temporal_pool else 'without'} temporal pool")
    model = model.to(device).eval().requires_grad_(False)
    return ModelTeacher(compile_model(model, compiled, device), distill.temperature, precision)


def _check_kind(kind: Any, what: str) -> None:
    if kind == "several":
        raise UserError(
            f"{what}: is of kind several, whose scores are no shares of classes; give a teacher of one label a video"
        )


def _stored(path: Path, data: RunData, device: torch.device, distill: Distill) -> StoredTeacher:
    what, manifest = f"--teacher {path}", data.train.manifest
    try:
        result = read_dump(path, np.dtype(np.float32))
    except UserError as error:
        remedy = "" if ";" in str(error) else "; give what test --dump wrote of the training list, or a checkpoint"
        raise UserError(f"--teacher {error}{remedy}") from error
    classes = data.recipe.model.num_classes
    if result.scores.shape[1] != classes:
        raise UserError(f"{what}: has {result.scores.shape[1]} classes, the student {classes}; give scores of the same classes")
    _check_kind(result.kind, what)
    names = result.summary.get("classes")
    if isinstance(names, list) and len(names) == classes and data.classes:
        check_same_classes(tuple(map(str, names)), tuple(data.classes), what, "give a teacher of the same classes")
    rows = {video: row for row, video in enumerate(result.videos)}
    places = [rows.get(manifest.listing.videos[index], -1) for index in manifest.kept.tolist()]
    lacking = [place for place, row in enumerate(places) if row < 0]
    if lacking:
        raise UserError(
            f"{what}: has no scores of {len(lacking)} of the {len(places)} training videos, first "
            f"{manifest.location(lacking[0])}; score the whole list: c2d_fast.test with it as list, and --dump"
        )
    scores = torch.from_numpy(result.probabilities().astype(np.float32, copy=False)[places])
    print(f"teacher: scores of {len(places)} videos from {path}")
    return StoredTeacher(scores.to(device), distill.temperature)
