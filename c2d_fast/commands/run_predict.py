"""Classifies videos as the flags of `c2d_fast.predict` say."""

import argparse
import dataclasses
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from c2d_fast.commands.data_flags import check_label_map, label_names
from c2d_fast.commands.dataset import choose_device, loader_options
from c2d_fast.commands.output_files import overlay_files
from c2d_fast.commands.run_explain import SeenViews, check_explain_flags, explain_all, label_to_explain
from c2d_fast.commands.run_segments import check_segment_flags, run_segments
from c2d_fast.commands.run_stream import check_stream_flags, run_stream
from c2d_fast.commands.run_watch import check_folder, watch
from c2d_fast.commands.thresholds import check_kind, read_thresholds
from c2d_fast.console import result
from c2d_fast.errors import UserError, on_one_line
from c2d_fast.lists.listing import Listing
from c2d_fast.loading.clip_loader import ClipLoader
from c2d_fast.loading.frame_sampling import Multi
from c2d_fast.loading.plan import VIEWS
from c2d_fast.manifest.bad_videos import BadVideos
from c2d_fast.manifest.manifest import Manifest, read_manifest
from c2d_fast.model.c2d import compile_model
from c2d_fast.model.model_file import ModelFile, read_model_file
from c2d_fast.model.precision import Precision
from c2d_fast.model.weights import describe, model_for
from c2d_fast.recipe import PipeFile, Recipe, load_pipe
from c2d_fast.reporting.overlay import write_overlay
from c2d_fast.reporting.scores import Scores
from c2d_fast.training.evaluate import evaluate
from c2d_fast.video.video_files import SkippedFiles, files_below, filter_videos

_KINETICS_400 = 400
_INK = (255, 255, 255)
_TOP, _USUAL = 5, 0.5
_NONE = "no class reaches its threshold"


def run_predict(args: argparse.Namespace) -> None:
    """Classifies and prints.

    Raises:
        UserError: anything that the user can mend; of a video that cannot be read once the others are done.
    """
    source = check_stream_flags(args)
    paths = [] if source else _given(args)
    targets, segments = overlay_files(args.overlay, paths), check_segment_flags(args, paths)
    explained = check_explain_flags(args, paths, targets)
    pipe, names = load_pipe(args.pipe, args.set), label_names(args)
    file = read_model_file(args.checkpoint, "--checkpoint")
    check_label_map(args, names, file)
    num_classes = args.num_classes or (len(names) if names else None)
    model, recipe = model_for(pipe.recipe, file, f"--checkpoint {args.checkpoint}", num_classes)
    print(describe(file, recipe))
    classes = _classes(names, file, recipe)
    label = label_to_explain(args.explain_class, classes)
    thresholds = _thresholds(args, recipe, classes)
    if source:
        run_stream(args, source, model, recipe, classes, thresholds or [args.threshold or 0.0] * len(classes))
        return
    if segments:
        reached = thresholds or [_USUAL if args.threshold is None else args.threshold] * len(classes)
        run_segments(args, paths, segments, targets, model, recipe, classes, reached)
        return
    network = compile_model(model.to(choose_device()), args.compile, choose_device())
    seen = SeenViews(recipe.labels.kind) if explained else None
    score = partial(_score_videos, args, pipe, recipe, network, classes, thresholds, seen)
    if args.watch:
        watch(args.watch, lambda some: score(some)[0])
    found, problems, manifest = score(paths)
    _show(found, as_json=args.json)
    failed = _write_overlays(found, paths, targets, manifest)
    if seen:
        failed += explain_all(model, recipe, seen, label, classes, [explained[index] for index in manifest.kept.tolist()])
    if problems:
        index, problem = min(problems.items())
        count = f"{len(problems)} of {len(paths)} videos cannot be read"
        raise UserError(f"{count}, first {paths[index]}: {problem}; mend them or leave them out")
    if failed:
        more = f" ({len(failed)} such files)" if len(failed) > 1 else ""
        raise UserError(f"{failed[0]}{more}")


def _score_videos(
    args: argparse.Namespace,
    pipe: PipeFile,
    recipe: Recipe,
    network: nn.Module,
    classes: Sequence[str],
    thresholds: Sequence[float] | None,
    seen: SeenViews | None,
    paths: Sequence[Path],
) -> tuple[list[dict[str, Any]], dict[int, str], Manifest]:
    """Returns what is found of each video, what is wrong with those that cannot be read, and the facts of all."""
    listing = Listing(Path("the videos given"), Path(), tuple(map(str, paths)), (0,) * len(paths), (0,) * len(paths), "")
    manifest = read_manifest(listing, allow_missing=True, jobs=len(os.sched_getaffinity(0)))
    problems = dict(manifest.broken)
    found: dict[int, dict[str, Any]] = {i: {"path": str(paths[i]), "error": problem} for i, problem in problems.items()}
    if len(manifest.kept):
        scores = _score(args, pipe, recipe, network, manifest, problems, seen)
        for index, row, scored in zip(manifest.kept.tolist(), scores.scores, scores.scored.tolist(), strict=True):
            found[index] = {"path": str(paths[index])} | (
                {"views": args.views, "predictions": _predictions(row.tolist(), classes, args.top, thresholds)}
                if scored
                else {"error": problems.get(index, "does not decode")}
            )
    return [found[index] for index in range(len(paths))], problems, manifest


def _write_overlays(
    found: Sequence[dict[str, Any]], paths: Sequence[Path], targets: Sequence[Path], manifest: Manifest
) -> list[str]:
    """Writes each video that has a prediction; returns what went wrong: one must not cost the others."""
    failed = []
    for index, target in enumerate(targets):
        if "predictions" not in found[index]:
            continue
        lines = [(f"{100 * best['probability']:3.0f} %  {best['class']}", _INK) for best in found[index]["predictions"]]
        lines = lines or [(_NONE, _INK)]
        try:
            frames, expected = write_overlay(paths[index], target, lines), int(manifest.facts["frames"][index])
        except UserError as error:
            failed.append(str(error))
            continue
        print(f"written: {on_one_line(str(target))}")
        if frames < expected:
            failed.append(
                f"--overlay {target}: has {frames} of {expected} frames, {paths[index]} does not decode further; mend it"
            )
    return failed


def _given(args: argparse.Namespace) -> list[Path]:
    """Returns the videos that are named, none with --watch."""
    if not args.watch:
        if not args.videos:
            raise UserError("no VIDEO is given; name files or folders, --watch DIR or --stream")
        return _videos(args.videos)
    if args.videos or args.segments or args.overlay or args.explain or args.json:
        others = "--segments, --overlay, --explain and --json"
        raise UserError(f"--watch {args.watch}: takes no videos, {others} beside it; leave them out")
    check_folder(args.watch)
    return []


def _videos(given: Sequence[Path]) -> list[Path]:
    """Returns the files, those of folders in the order of their names."""
    paths: list[Path] = []
    for path in given:
        if os.path.isdir(path):
            skipped = SkippedFiles()
            below = filter_videos(files_below(path), path, skipped)
            if not below:
                found = f", of {skipped}" if str(skipped) else ""
                raise UserError(f"{path}: holds no video{found}; give files, or another folder")
            if str(skipped):
                print(f"note: left out of {path}: {skipped}")
            paths += (path / name for name in below)
        elif os.path.exists(path):
            paths.append(path)
        else:
            raise UserError(f"{path}: no such file or folder; correct the path")
    return paths


def _classes(names: tuple[str, ...] | None, file: ModelFile, recipe: Recipe) -> Sequence[str]:
    """Returns the classes' names: the label map's, the checkpoint's, Kinetics' or numbers."""
    if names or file.classes:
        return names or file.classes or ()
    if file.form != "ours" and recipe.model.num_classes == _KINETICS_400:
        # In the order of the published models: alphabetical.
        from torchvision.models.video import R3D_18_Weights

        print("class names: those of Kinetics-400, in alphabetical order (--label-map gives others)")
        return [str(name) for name in R3D_18_Weights.KINETICS400_V1.meta["categories"]]
    return [f"class {label}" for label in range(recipe.model.num_classes)]


def _score(
    args: argparse.Namespace,
    pipe: PipeFile,
    recipe: Recipe,
    network: nn.Module,
    manifest: Manifest,
    problems: dict[int, str],
    seen: SeenViews | None,
) -> Scores:
    """Returns the scores; videos that turn out to be broken are added to the problems, by their index in the list."""
    bad = BadVideos(manifest, (100.0, True), "", check_at_end=True)
    device, num_clips = choose_device(), VIEWS[args.views]
    options = loader_options(bad, args, device, recipe, batch_size=args.batch_size or recipe.training.clips_per_gpu)
    options = dataclasses.replace(options, workers=min(options.workers, len(manifest.kept)))
    videos = manifest.videos()
    batch_size = min(args.batch_size or recipe.training.clips_per_gpu, len(videos) * num_clips * (1 if num_clips == 1 else 3))
    source = ClipLoader(
        bad,
        train=False,
        clip=Multi(num_clips, recipe.clip),
        crop=recipe.crop,
        batch_size=batch_size,
        pad_last=True,
        rank=0,
        world_size=1,
        graph=pipe.eval_pipe,
        options=options,
    )
    try:
        with source:
            scores = _evaluate(args, recipe, network, source, device, seen)
    except UserError:
        if len(bad.pending) < len(videos):
            raise
        nothing = torch.zeros(len(videos), recipe.model.num_classes)  # none of them decodes
        scores = Scores(nothing, nothing[:, 0] > 0, nothing[:, 0].long())
    if seen:
        seen.finish(source.plan, scores)
    problems.update((int(manifest.kept[index]), problem) for index, problem in bad.pop_pending())
    return scores


def _evaluate(
    args: argparse.Namespace,
    recipe: Recipe,
    network: nn.Module,
    source: ClipLoader,
    device: torch.device,
    seen: SeenViews | None,
) -> Scores:
    scores = evaluate(
        network,
        source,
        num_classes=recipe.model.num_classes,
        average_probabilities=recipe.model.temporal_pool,
        precision=Precision.choose(args.precision, device),
        labels=recipe.labels,
        gallery=seen,
    )
    assert scores is not None  # nothing asks it to give up
    return scores


def _thresholds(args: argparse.Namespace, recipe: Recipe, classes: Sequence[str]) -> list[float] | None:
    """Returns what each class's probability must reach to be named, by label; None of models of one label a video."""
    for flag in ("thresholds",) if args.segments or args.stream else ("threshold", "thresholds"):
        check_kind(f"--{flag}", getattr(args, flag), recipe.labels.kind)
    if args.threshold is not None and args.thresholds:
        raise UserError(f"--threshold {args.threshold:g}: --thresholds says it for each class; give one of both")
    if recipe.labels.kind != "several":
        return None
    if args.thresholds:
        return read_thresholds(args.thresholds, classes)
    return [_USUAL if args.threshold is None else args.threshold] * len(classes)


def _predictions(
    scores: Sequence[float], classes: Sequence[str], most: int | None, thresholds: Sequence[float] | None
) -> list[dict[str, Any]]:
    """Returns classes, the most probable one first: five where nothing else is said, or all that reach their threshold."""
    labels = sorted(range(len(scores)), key=lambda label: (-scores[label], label))
    if thresholds is None:
        labels = labels[: most or _TOP]
        return [{"class": classes[label], "label": label, "probability": scores[label]} for label in labels]
    labels = [label for label in labels if scores[label] >= thresholds[label]][:most]
    return [
        {"class": classes[label], "label": label, "probability": scores[label], "threshold": thresholds[label]}
        for label in labels
    ]


def _show(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        result(json.dumps(found, indent=2))
        return
    for video in found:
        result(on_one_line(video["path"] + (f": {video['error']}" if "error" in video else "")))
        if video.get("predictions") == []:
            result(f"           {_NONE}")
        for best in video.get("predictions", []):
            result(on_one_line(f"{100 * best['probability']:7.1f} %  {best['class']}"))
