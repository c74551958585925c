"""`predict --segments`: what long videos show when. Each is read once, window by window, in memory that does not grow."""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.commands.output_files import output_files
from c2d_fast.commands.window_model import BATCH, centre_crop, clips_as_asked, window_scorer
from c2d_fast.commands.window_scores import Clips, WindowScores, clips_of
from c2d_fast.console import result
from c2d_fast.errors import UserError, on_one_line
from c2d_fast.files import atomic_write
from c2d_fast.model.c2d import C2D
from c2d_fast.recipe import Recipe
from c2d_fast.reporting.segments import FORMATS, Segment, Windows, find_segments, written
from c2d_fast.reporting.timeline import write_timeline
from c2d_fast.video.crops import why_no_opencv
from c2d_fast.video.long_video import duration_of, frames_at
from c2d_fast.video.reader import DecodeError


def check_segment_flags(args: argparse.Namespace, paths: Sequence[Path]) -> list[list[Path]]:
    """Compares the flags of windows with each other; returns where each video's segments go, none without --segments.

    Raises:
        UserError: they do not fit, or a file cannot be written.
    """
    if not args.segments:
        for name in ("window", "stride", "smooth", "key_frames"):
            if getattr(args, name) and not args.stream:
                flag = f"--{name.replace('_', '-')}"
                raise UserError(f"{flag}: is of --segments and --stream, which are missing; give one, or leave this out")
        return []
    if args.views != "1x1" or args.json:
        raise UserError("--segments: has views and a file of its own; leave --views and --json out")
    if args.smooth and args.smooth % 2 == 0:
        raise UserError(f"--smooth {args.smooth}: must be odd: a window and as many on each side")
    if problem := why_no_opencv():
        raise UserError(f"--segments: {problem}; pip install opencv-python-headless")
    return output_files("--segments", args.segments, paths, FORMATS, args.checkpoint)


def run_segments(
    args: argparse.Namespace,
    paths: Sequence[Path],
    targets: Sequence[Sequence[Path]],
    overlays: Sequence[Path],
    model: C2D,
    recipe: Recipe,
    classes: Sequence[str],
    thresholds: Sequence[float],
) -> None:
    """Finds the segments of each video, and writes them.

    Args:
        args: of the command.
        paths: the videos.
        targets: where each one's segments go.
        overlays: where the videos with their segments go; none, or one each.
        model: on the CPU.
        recipe: of the model.
        classes: names by label.
        thresholds: what a class's probability must reach, by label.

    Raises:
        UserError: a video cannot be read; the others are done before.
    """
    clips, score = clips_as_asked(args, recipe), window_scorer(args, model, recipe)
    failed: list[str] = []
    for number, path in enumerate(paths):
        started_s = time.monotonic()
        try:
            windows, found, kept, computed = _segments_of(
                args, path, targets[number], clips, recipe, len(classes), thresholds, score
            )
        except DecodeError as error:
            failed.append(f"{path}: {error}")
            continue
        facts = {"video": str(path), "duration": round(windows.duration_s, 3), "window": windows.window_s,
                 "stride": windows.stride_s, "recipe": recipe.name}  # fmt: skip
        _write(targets[number], found, classes, facts)
        kept.remove()
        took_s, read_s = time.monotonic() - started_s, computed * clips.stride_s
        speed = f", {read_s / took_s:.1f} times real time" if computed else ""
        where = ", ".join(map(str, targets[number]))
        result(on_one_line(f"{path}: {len(found)} segments in {_clock(windows.duration_s)}{speed}: {where}"))
        if overlays:
            write_timeline(path, overlays[number], found, classes, windows.duration_s)
            print(f"written: {on_one_line(str(overlays[number]))}")
    if failed:
        raise UserError(f"{len(failed)} of {len(paths)} videos cannot be read, first {failed[0]}; mend them or leave them out")


def _segments_of(
    args: argparse.Namespace,
    path: Path,
    targets: Sequence[Path],
    clips: Clips,
    recipe: Recipe,
    num_classes: int,
    thresholds: Sequence[float],
    score: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
) -> tuple[Windows, list[Segment], WindowScores, int]:
    """Returns how a video's windows lie, its segments, the file of scores, and how many windows were computed now."""
    duration_s, state = duration_of(path), path.stat()
    header = {
        "format": "c2d_fast.windows/1",
        "video": [path.name, state.st_size, state.st_mtime_ns],
        "checkpoint": [str(args.checkpoint), args.checkpoint.stat().st_size, args.checkpoint.stat().st_mtime_ns],
        "recipe": recipe.sha256,
        "window": clips.window_s,
        "stride": clips.stride_s,
        "key_frames": args.key_frames,
        "classes": num_classes,
    }
    kept = WindowScores(targets[0].with_name(targets[0].name + ".windows"), header, num_classes)
    try:
        before = kept.count
        if before:
            print(on_one_line(f"{path}: goes on at {_clock(before * clips.stride_s)}"))
        frames = partial(frames_at, path, transform=centre_crop(recipe), key_frames=args.key_frames)
        waiting = clips_of(frames, clips, before)
        while some := list(islice(waiting, args.batch_size or BATCH)):
            kept.append(score(np.stack(some)))
    finally:
        kept.close()
    windows = Windows(clips.window_s, clips.stride_s, duration_s or kept.count * clips.stride_s)
    found = find_segments(
        kept.rows(), windows, np.array(thresholds), smooth=args.smooth or 1, several=recipe.labels.kind == "several"
    )
    ordered = sorted(found, key=lambda segment: (segment.start_s, segment.label))
    return windows, ordered, kept, kept.count - before


def _write(targets: Sequence[Path], segments: Sequence[Segment], classes: Sequence[str], facts: dict[str, Any]) -> None:
    for target in targets:
        try:
            with atomic_write(target) as partial:
                partial.write_text(written(segments, classes, target.suffix, facts), encoding="utf-8")
        except OSError as error:
            raise UserError(f"--segments {target}: cannot be written ({error.strerror}); give another file") from error


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
