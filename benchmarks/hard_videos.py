"""The demo's generated videos made harder, for benchmarks of what helps training: few of them, and much noise.

What they show is drawn by c2d_fast.prepare.demo_data, with numbers from FIRST on: none is of the demo. Of each are taken
the first LENGTH frames, at half the size. To each frame is added noise of its own, grainy and in blotches. All are key frames:
reading costs little.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from subprocesses import run_python

from c2d_fast.prepare.demo_data import OBJECTS, video_frames

FIRST = 10_000
LENGTH = 20
_NOISE = 71
"""Parts the noise from what else is drawn of the same numbers."""
_BLOTCH = 6
"""Pixels of a blotch's side."""
_OPTIONS = {"crf": "26", "g": "1", "bf": "0", "threads": "1", "x264-params": "mbtree=0", "preset": "veryfast"}


def hard_frames(split: str, label: int, number: int, noise: float) -> Iterator[NDArray[np.uint8]]:
    """Draws a video, frame after frame: RGB, uint8 [H, W, C].

    Args:
        split: "train" or "val".
        label: the class, of demo_data.OBJECTS.
        number: counted from 0.
        noise: standard deviation of each kind of noise, of 255.
    """
    rng = np.random.default_rng([FIRST, split == "val", label, number, _NOISE])
    for whole in islice(video_frames(split, label, FIRST + number), LENGTH):
        height, width = whole.shape[0] // 2, whole.shape[1] // 2
        image = whole.reshape(height, 2, width, 2, 3).mean((1, 3))
        grain = rng.normal(0, noise, image.shape)
        blotches = rng.normal(0, noise, (-(-height // _BLOTCH), -(-width // _BLOTCH), 3))
        blotches = blotches.repeat(_BLOTCH, 0).repeat(_BLOTCH, 1)[:height, :width]
        yield np.clip(image + grain + blotches, 0, 255).astype(np.uint8)


def make_hard_videos(folder: Path, counts: dict[str, Sequence[int]], noise: float) -> dict[str, Path]:
    """Makes the videos that are not there yet, and their manifests.

    Args:
        folder: gets <split>/<label>-<number>.mp4, a list and a manifest of each split.
        counts: of "train" and "val": videos of each class; those of a smaller count are the first of a larger one.
        noise: as of hard_frames.

    Returns:
        The manifest of each split.
    """
    todo, lists = [], {}
    for split, of_classes in counts.items():
        assert len(of_classes) <= len(OBJECTS), "the demo has no more classes"
        rows = [(label, number) for label, count in enumerate(of_classes) for number in range(count)]
        names = [f"{split}/{label}-{number:03d}.mp4" for label, number in rows]
        todo += [(split, *row, folder / name) for row, name in zip(rows, names, strict=True)]
        lists[split] = "".join(f"{name} {label}\n" for name, (label, _) in zip(names, rows, strict=True))
    jobs = [job for job in todo if not job[-1].exists()]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(_write_hard, jobs, repeat(noise), chunksize=8))
    return {split: write_manifest(folder, split, text) for split, text in lists.items()}


def _write_hard(job: tuple[str, int, int, Path], noise: float) -> None:
    split, label, number, path = job
    write_video(path, hard_frames(split, label, number, noise))


def write_video(path: Path, images: Iterator[NDArray[np.uint8]]) -> None:
    """Encodes images as H.264 of key frames only; whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial.mp4")
    with av.open(str(partial), "w") as container:
        stream: Any = None
        for image in images:
            if stream is None:
                stream = container.add_stream("libx264", rate=25, options=_OPTIONS)
                stream.height, stream.width, stream.pix_fmt = image.shape[0], image.shape[1], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    os.replace(partial, path)


def write_manifest(folder: Path, name: str, rows: str) -> Path:
    """Writes a list, and examines its videos; returns the manifest."""
    listed, manifest = folder / f"{name}.txt", folder / f"{name}.npz"
    listed.write_text(rows)
    run_python("-m", "c2d_fast.prepare", "scan", "--list", listed, "--data-root", folder, "--out", manifest, "--quiet")
    return manifest
