"""`predict --explain`: which places of a video's best view speak for a class, over its frames."""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from c2d_fast.commands.output_files import output_files
from c2d_fast.errors import UserError, on_one_line
from c2d_fast.loading.batch import Batch
from c2d_fast.loading.crop_buffers import CropBuffer
from c2d_fast.loading.plan import EvalPlan, Sample, TrainPlan
from c2d_fast.loading.source import stored_of
from c2d_fast.model.c2d import C2D
from c2d_fast.model.grad_cam import check_packages, class_maps, map_centres
from c2d_fast.recipe import Recipe
from c2d_fast.reporting.heat_maps import FORMATS, SHEET_PX, HeatMaps, write_heat_video, write_sheet
from c2d_fast.reporting.scores import Scores
from c2d_fast.video.crops import why_no_opencv
from c2d_fast.video.reader import DecodeError, decode_images

_FLAG = "--explain"


def check_explain_flags(args: argparse.Namespace, paths: Sequence[Path], overlays: Sequence[Path]) -> list[list[Path]]:
    """Returns where each video's maps go, none without --explain.

    Args:
        args: of the command.
        paths: the videos.
        overlays: what else is written.

    Raises:
        UserError: flags do not fit, a file cannot be written, or a package is missing.
    """
    if not args.explain:
        if args.explain_class is not None:
            raise UserError("--explain-class: is of --explain, which is missing; give it, or leave this out")
        return []
    if args.segments:
        raise UserError(f"{_FLAG} {args.explain}: is of whole videos, and not of --segments; leave one of them out")
    check_packages(_FLAG)
    if problem := why_no_opencv():
        raise UserError(f"{_FLAG}: {problem}; pip install 'opencv-python-headless>=5'")
    targets = output_files(_FLAG, [args.explain], paths, FORMATS, args.checkpoint)
    others = set(map(os.path.realpath, overlays))
    for path, files in zip(paths, targets, strict=True):
        for target in files:
            if os.path.realpath(target) in others:
                raise UserError(f"{_FLAG} {target}: is the file of --overlay, too; give another place")
            if target != args.explain and os.path.exists(target) and os.path.samefile(target.parent, path.parent):
                raise UserError(f"{_FLAG} {args.explain}: {target.name} is there, beside the videos; give another folder")
    return targets


def label_to_explain(given: str | None, classes: Sequence[str]) -> int | None:
    """Returns the label of --explain-class, by its name or number; None where it is not given.

    Raises:
        UserError: there is no such class.
    """
    if given is None:
        return None
    if given in classes:
        return list(classes).index(given)
    if given.isdecimal() and int(given) < len(classes):
        return int(given)
    raise UserError(
        f"--explain-class {given}: is no class of the model; give a label, 0 to {len(classes) - 1}, or a class's name"
    )


class SeenViews:
    """What a model says of each view of each video."""

    def __init__(self, kind: str):
        """Starts empty; kind is that of the recipe's labels."""
        self._kind = kind
        self._logits: dict[int, list[Tensor]] = {}
        self._plan: EvalPlan | None = None
        self._scores: Scores | None = None

    def update(self, batch: Batch, logits: Tensor) -> None:
        """Takes a batch's logits, float32 [N, K], whose views come in the plan's order."""
        found, valid = logits.detach().float().cpu(), batch.num_valid
        for index, row in zip(batch.index[:valid].tolist(), found[:valid], strict=True):
            self._logits.setdefault(index, []).append(row)

    def finish(self, plan: TrainPlan | EvalPlan, scores: Scores) -> None:
        """Takes which views these are, and what their videos are scored."""
        assert isinstance(plan, EvalPlan)
        self._plan, self._scores = plan, scores

    @property
    def plan(self) -> EvalPlan:
        """Returns which views these are."""
        assert self._plan is not None
        return self._plan

    def top(self, index: int) -> int | None:
        """Returns a video's most probable class, the first one of several; None where it was not scored."""
        assert self._scores is not None
        return int(self._scores.scores[index].numpy().argmax()) if self._scores.scored[index] else None

    def best(self, index: int, label: int) -> tuple[int, float]:
        """Returns which view of a video scores a class highest, the first one of several, and its probability."""
        logits = torch.stack(self._logits[index])
        scores = (logits.sigmoid() if self._kind == "several" else logits.softmax(1))[:, label].numpy()
        return int(scores.argmax()), float(scores.max())


def explain_all(
    model: C2D,
    recipe: Recipe,
    seen: SeenViews,
    label: int | None,
    classes: Sequence[str],
    targets: Sequence[Sequence[Path]],
) -> list[str]:
    """Writes the maps of each video that was scored; returns what went wrong: one must not cost the others.

    Args:
        model: not compiled, on its device.
        recipe: of the model.
        seen: the views of all videos.
        label: the class to explain; None: each video's most probable one.
        classes: names by label.
        targets: files of each video of the plan.
    """
    failed = []
    for index, files in enumerate(targets):
        top = seen.top(index)
        if top is None:
            continue
        of = top if label is None else label
        try:
            for line in _explain(model, recipe, seen, index, of, files, classes[of]):
                print(line)
        except UserError as error:
            failed.append(str(error))
    return failed


class _Kept:
    """Of each decoded frame: the model's crop, and a picture as large as a sheet's."""

    def __init__(self, sample: Sample, frames: int, recipe: Recipe, short_side: int):
        self.crops = CropBuffer(frames, sample.boxes, recipe.crop.size, flip=sample.flip, short_side=short_side, scaled=None)
        self.pictures: dict[int, NDArray[np.uint8]] = {}

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        index = self.crops(image)
        height, width = image.shape[:2]
        scale = SHEET_PX / min(height, width)
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        picture = Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BILINEAR)
        self.pictures[int(index)] = np.asarray(picture)
        return index


def _explain(
    model: C2D, recipe: Recipe, seen: SeenViews, index: int, label: int, targets: Sequence[Path], name: str
) -> Iterator[str]:
    """Writes the maps of the view of a video that scores a class highest; yields a line for each file.

    Raises:
        UserError: the video cannot be read again, or not to the end of the view; or a file cannot be written.
    """
    plan = seen.plan
    number, probability = seen.best(index, label)
    sample, path = plan.views(index)[number], Path(plan.videos.file(index))
    wanted, places = np.unique(sample.frames, return_inverse=True)
    kept = _Kept(sample, len(wanted), recipe, plan.short_side)
    try:
        decode_images(path, wanted, 0, stored_of(plan.videos, index), kept)
    except DecodeError as error:
        raise UserError(f"{_FLAG} {targets[0]}: is not written, {path} {error}; mend it or leave it out") from error
    clip = torch.from_numpy(kept.crops.images[0][places])[None].to(next(model.parameters()).device)
    maps = class_maps(model, clip, label)
    by_frame = np.zeros((len(wanted), *maps.shape[1:]), np.float32)
    np.maximum.at(by_frame, places, maps)  # a short video loops: a frame may have come several times
    size, cells = recipe.crop.size, maps.shape[1]
    centres = map_centres(size, cells, temporal_pool=model.temporal_pool) / size
    heat = HeatMaps(wanted, by_frame, sample.boxes[0], centres, sample.flip)
    view = f"view {number + 1} of {plan.num_views}, frames {wanted[0]} to {wanted[-1]}"
    title = f"{name} ({100 * probability:.0f} % in {view})"
    if not maps.any():
        title += ": nothing in it speaks for that"
    problem = ""
    for target in targets:
        if target.suffix == ".png":
            pictures = [kept.pictures[place] for place in range(len(wanted))]
            write_sheet(heat, pictures, title, target, _FLAG)
        else:
            count, expected = write_heat_video(heat, path, target, _FLAG), wanted[-1] - wanted[0] + 1
            if count < expected:
                problem = f"{_FLAG} {target}: has {count} of {expected} frames, then {path} changes its size or does not decode"
        yield on_one_line(f"written: {target}: {title}")
    if problem:
        raise UserError(f"{problem}; mend it")
