"""The demo data set: generated H.264 clips in which one of eight textured objects moves over a varied background.

The class is the object's shape and texture, told from any single frame (C2D does not see the order of frames). Colours,
size, place, path, background, noise, length and frame size are drawn at random, the same on every machine.
"""

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from c2d_fast.console import shows_bars
from c2d_fast.errors import UserError
from c2d_fast.formats.schemas import ShapeError, decode_object

DEMO_FOLDER = Path("data/demo")
"""Where the commands look for the demo data when no data flags are given."""

OBJECTS = (
    ("plain", "disc"),
    ("striped", "disc"),
    ("chequered", "square"),
    ("ringed", "square"),
    ("plain", "triangle"),
    ("chequered", "triangle"),
    ("striped", "cross"),
    ("ringed", "cross"),
)
"""(texture, shape) of each class: neither alone tells it, every shape and every texture belongs to two."""
CLASSES = tuple(f"{texture} {shape}" for texture, shape in OBJECTS)
VIDEOS_PER_CLASS = {"train": 40, "val": 12}

_SIZES = ((128, 96), (144, 112), (112, 112), (96, 128), (176, 144))
_Image = NDArray[Any]


def make_demo_data(folder: Path, videos_per_class: dict[str, int] | None = None) -> str:
    """Makes the demo data set, or finds it made.

    Args:
        folder: gets videos/<split>/<class>/<n>.mp4, train.txt, val.txt and labels.txt; made whole or not at all.
        videos_per_class: how many of the splits "train" and "val" (default: VIDEOS_PER_CLASS).

    Returns:
        One line that says what is there.

    Raises:
        UserError: the folder holds something else or cannot be made.
    """
    per_class = videos_per_class or VIDEOS_PER_CLASS
    counts = ", ".join(f"{len(CLASSES) * count} {split}" for split, count in per_class.items())
    stamp = {"made by": "c2d_fast.prepare demo", "version": 1, "videos per class": per_class}
    if _is_made(folder, stamp):
        return f"demo data: {folder} ({counts} videos, made before)"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: holds something other than this version's demo data; remove it or give another folder")
    partial = folder.with_name(folder.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write(partial, per_class)
        (partial / "demo.json").write_text(json.dumps(stamp) + "\n")
        if folder.exists():
            folder.rmdir()
        os.replace(partial, folder)
    except OSError as error:
        raise UserError(f"{folder}: demo data cannot be made ({error.strerror}); give another folder") from error
    return f"demo data: {folder} ({counts} videos, made now)"


def video_frames(split: str, label: int, number: int) -> Iterator[NDArray[np.uint8]]:
    """Draws a video, frame after frame: RGB, uint8 [H, W, C]. The arguments alone decide what it shows."""
    rng = np.random.default_rng([list(VIDEOS_PER_CLASS).index(split), label, number])
    texture, shape = OBJECTS[label]
    width, height = _SIZES[rng.integers(len(_SIZES))]
    num_frames, short = int(rng.integers(20, 49)), min(width, height)
    background = _background(rng, width, height)
    radius = short * rng.uniform(0.34, 0.46)
    colours = _two_colours(rng, background.mean((0, 1)))
    angle, spin = rng.uniform(-0.25, 0.25), rng.uniform(-0.01, 0.01)
    density = rng.uniform(1.2, 1.4)
    # Around the middle, so that no crop loses the object.
    low, high = (np.array([width, height]) / 2 + side * 0.15 * short for side in (-1, 1))
    place, speed = rng.uniform(low, high), rng.normal(0, short / 50, 2)
    noise = rng.uniform(1, 6)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for _ in range(num_frames):
        u, v = (x - place[0]) / radius, (y - place[1]) / radius
        u, v = u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)
        inside = _inside(shape, u, v)
        dark = _texture(texture, u * density, v * density)
        image = np.where(inside[..., None], np.where(dark[..., None], colours[0], colours[1]), background)
        image = image + rng.normal(0, noise, image.shape)
        yield np.clip(image, 0, 255).astype(np.uint8)
        place, angle = place + speed, angle + spin
        speed = np.where((place < low) | (place > high), -speed, speed)
        place = np.clip(place, low, high)


def _is_made(folder: Path, stamp: dict[str, Any]) -> bool:
    try:
        return decode_object((folder / "demo.json").read_bytes()) == stamp
    except (OSError, ShapeError):
        return False


def _write(folder: Path, per_class: dict[str, int]) -> None:
    jobs: list[tuple[str, int, int, Path]] = []
    for split, count in per_class.items():
        lines = []
        for label, name in enumerate(CLASSES):
            for number in range(count):
                path = Path("videos") / split / name / f"{number:03d}.mp4"
                lines.append(f"{path} {label}\n")
                jobs.append((split, label, number, folder / path))
        (folder / f"{split}.txt").write_text("".join(lines))
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for _ in tqdm(pool.map(_write_video, jobs), total=len(jobs), unit="video", disable=not shows_bars()):
            pass


def _write_video(job: tuple[str, int, int, Path]) -> None:
    split, label, number, path = job
    path.parent.mkdir(parents=True, exist_ok=True)
    # x264's ordinary settings: B-frames and a key frame every 250 frames. But one thread, so that the bytes do not depend on
    # the CPUs, and no macroblock tree, which was seen to give other bytes each time.
    options = {"crf": "20", "bf": "3", "g": "250", "threads": "1", "x264-params": "mbtree=0"}
    with av.open(str(path), "w") as container:
        stream: Any = None
        for image in video_frames(split, label, number):
            if stream is None:
                stream = container.add_stream("libx264", rate=25, options=options)
                stream.height, stream.width, stream.pix_fmt = image.shape[0], image.shape[1], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def _background(rng: np.random.Generator, width: int, height: int) -> _Image:
    """Returns soft blobs of colour, bilinear between a few random points."""
    columns, rows = rng.integers(3, 7, 2)
    # Muted, around a base of any brightness: the object's texture stands out without a colour of its own.
    points = (rng.uniform(60, 195, 3) + rng.uniform(-30, 30, (rows, columns, 3))).astype(np.float32)
    y, x = np.linspace(0, rows - 1.001, height), np.linspace(0, columns - 1.001, width)
    row, column = y.astype(int), x.astype(int)
    fy, fx = (y - row)[:, None, None], (x - column)[None, :, None]
    top = points[row][:, column] * (1 - fx) + points[row][:, column + 1] * fx
    bottom = points[row + 1][:, column] * (1 - fx) + points[row + 1][:, column + 1] * fx
    return np.asarray(top * (1 - fy) + bottom * fy, np.float32)


def _two_colours(rng: np.random.Generator, background: NDArray[np.float32]) -> tuple[_Image, _Image]:
    """Draws two colours far enough from each other to show a texture."""
    while True:
        first, second = rng.uniform(0, 255, (2, 3)).astype(np.float32)
        if np.abs(first.mean() - second.mean()) > 90 and np.abs(first - background).sum() > 150:
            return first, second


def _inside(shape: str, u: _Image, v: _Image) -> Any:
    """Says which points of the plane lie in a shape of radius about 1."""
    if shape == "disc":
        return u * u + v * v < 0.81
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) < 0.8
    if shape == "triangle":
        return (v > -0.55) & (v + np.sqrt(3) * np.abs(u) < 1.1)
    return (np.minimum(np.abs(u), np.abs(v)) < 0.32) & (np.maximum(np.abs(u), np.abs(v)) < 1)


def _texture(texture: str, u: _Image, v: _Image) -> Any:
    """Says which points of the plane have a texture's first colour."""
    if texture == "plain":
        return np.ones_like(u, bool)
    if texture == "striped":
        return np.sin(2 * np.pi * u) > 0
    if texture == "ringed":
        return np.sin(2 * np.pi * np.hypot(u, v)) > 0
    return np.cos(2 * np.pi * u) + np.cos(2 * np.pi * v) > 0
