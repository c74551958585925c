"""Generated videos that show any number of several kinds of marks at once, or none: for labels of kind "several"."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from hard_videos import write_manifest, write_video
from numpy.typing import NDArray

KINDS = ("red disc", "green square", "blue triangle", "yellow cross", "white ring")
_COLOURS = ((225, 40, 40), (40, 190, 60), (50, 70, 225), (225, 205, 40), (240, 240, 240))
_SIDE, _FRAMES, _PLACES = 64, 20, ((14, 20), (32, 20), (50, 20), (14, 44), (32, 44), (50, 44))
_LIKELY = 0.4
_PURPOSE = 72


def shown(split: str, number: int) -> list[int]:
    """Returns which kinds a video shows: each is as likely, whatever the others are."""
    rng = np.random.default_rng([_PURPOSE, split == "val", number, 0])
    return [int(kind) for kind in np.flatnonzero(rng.random(len(KINDS)) < _LIKELY)]


def label_frames(split: str, number: int) -> Iterator[NDArray[np.uint8]]:
    """Draws a video, frame after frame: RGB, uint8 [H, W, C]. Each kind drifts about a place; a dark grey mark says nothing."""
    rng = np.random.default_rng([_PURPOSE, split == "val", number, 1])
    background = rng.uniform(60, 150, 3) + rng.uniform(-25, 25, (4, 4, 3))
    background = background.repeat(_SIDE // 4, 0).repeat(_SIDE // 4, 1)
    kinds = shown(split, number)
    marks = [(kind, np.array(_COLOURS[kind])) for kind in kinds]
    marks.append((int(rng.integers(len(KINDS))), np.full(3, rng.uniform(20, 60))))
    places = rng.permutation(len(_PLACES))[: len(marks)]
    at = np.array(_PLACES, float)[places] + rng.uniform(-2, 2, (len(marks), 2))
    drift, radii = rng.normal(0, 0.15, (len(marks), 2)), rng.uniform(7, 9, len(marks))
    y, x = np.mgrid[:_SIDE, :_SIDE].astype(float)
    for frame in range(_FRAMES):
        image = background + rng.normal(0, 8, (_SIDE, _SIDE, 3))
        for (kind, colour), place, radius in zip(marks, at + drift * frame, radii, strict=True):
            image[_inside(kind, (x - place[0]) / radius, (y - place[1]) / radius)] = colour + rng.normal(0, 6, 3)
        yield np.clip(image, 0, 255).astype(np.uint8)


def _inside(kind: int, u: Any, v: Any) -> Any:
    """Says which points of the plane lie in a mark of radius 1."""
    distance = np.hypot(u, v)
    return (
        distance < 1,
        np.maximum(np.abs(u), np.abs(v)) < 0.85,
        (v > -0.6) & (v + 1.8 * np.abs(u) < 1.1),
        (np.minimum(np.abs(u), np.abs(v)) < 0.35) & (np.maximum(np.abs(u), np.abs(v)) < 1),
        (distance < 1.05) & (distance > 0.55),
    )[kind]


def make_label_videos(folder: Path, counts: dict[str, int]) -> dict[str, Path]:
    """Makes the videos that are not there yet, and their manifests.

    Args:
        folder: gets <split>/<number>.mp4, a list (`path 0,3`; -1 where there is none) and a manifest of each split.
        counts: of "train" and "val".

    Returns:
        The manifest of each split.
    """
    made = {}
    for split, count in counts.items():
        paths = [Path(split) / f"{number:03d}.mp4" for number in range(count)]
        todo = [number for number, path in enumerate(paths) if not (folder / path).exists()]
        with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(_write, todo, repeat(split), [folder / paths[number] for number in todo], chunksize=8))
        labels = [",".join(map(str, shown(split, number))) or "-1" for number in range(count)]
        made[split] = write_manifest(folder, split, "".join(f"{p} {label}\n" for p, label in zip(paths, labels, strict=True)))
    return made


def _write(number: int, split: str, path: Path) -> None:
    write_video(path, label_frames(split, number))
