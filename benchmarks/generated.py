"""Videos for benchmarks, of the size and length of Kinetics clips: a hand-held camera, turning objects, grain, a cut.

Made by the arguments alone (but for rounding), and made to be as hard to decode as real clips are: 340x256 H.264 has about
3.5 kB a frame and takes 0.5 ms a frame, two clips of Kinetics 2.3 and 4.5 kB, 0.4 and 0.6 ms. Where real clips are at hand, a
benchmark's --list takes them.
"""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import av
import numpy as np

try:  # the offline GPU machine may lack it; what is drawn without differs by rounding
    import cv2
except ImportError:
    cv2 = None

ENCODERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "h264": ("libx264", "mp4", {"crf": "23"}),
    "hevc": ("libx265", "mp4", {"crf": "26", "x265-params": "log-level=none:pools=none:frame-threads=1"}),
    "vp9": ("libvpx-vp9", "webm", {"crf": "32", "b": "0", "deadline": "realtime", "cpu-used": "8"}),
    "mjpeg": ("mjpeg", "avi", {"q:v": "4"}),
}
"""Codec -> encoder, ending of files, options."""


def make_videos(
    folder: Path,
    count: int,
    *,
    num_frames: int = 300,
    width: int = 340,
    height: int = 256,
    codec: str = "h264",
    gop: int = 250,
) -> list[Path]:
    """Makes videos as they are downloaded (of H.264 x264's defaults: B-frames, key frames also at cuts), or finds them made.

    Args:
        folder: gets 000.mp4, 001.mp4 ...
        count: how many.
        num_frames: of each.
        width: in pixels.
        height: in pixels.
        codec: one of ENCODERS.
        gop: frames from key frame to key frame, at most.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.{ENCODERS[codec][1]}" for number in range(count)]
    todo = [number for number in range(count) if not paths[number].exists()]
    if todo:  # in processes: drawing holds Python's lock
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(len(os.sched_getaffinity(0)), len(todo)), context) as pool:
            shape = map(repeat, (num_frames, width, height, codec, gop))
            list(pool.map(_make, todo, [paths[number] for number in todo], *shape))
    return paths


def _make(number: int, path: Path, num_frames: int, width: int, height: int, codec: str, gop: int) -> None:
    encoder, ending, options = ENCODERS[codec]
    partial = path.with_suffix(f".partial.{ending}")
    with av.open(str(partial), "w") as container:
        stream: Any = container.add_stream(encoder, rate=30, options={"g": str(gop), "threads": "1", **options})
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for image in frames(number, num_frames, width, height):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    partial.rename(path)


def frames(number: int, num_frames: int, width: int, height: int) -> Iterator[Any]:
    """Draws a video, frame after frame: RGB, uint8 [H, W, C]."""
    rng = np.random.default_rng([7, number])
    cut = int(rng.integers(num_frames // 3, num_frames))
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    for k in range(num_frames):
        if k in (0, cut):
            field = _texture(rng, 2 * height, 2 * width)
            leaves = _texture(rng, height, width)[..., :2] / 12
            speed, turn, phases = rng.uniform(-1.2, 1.2, 2), rng.uniform(0.001, 0.003), rng.uniform(0, 6.3, 6)
            places, speeds = rng.uniform(0.2, 0.8, (6, 2)) * (width, height), rng.normal(0, 2.0, (6, 2))
            parts, radii = rng.uniform(0, 1, (6, 2)) * (width, height), rng.uniform(0.08, 0.25, 6) * height
        # A hand-held camera that pans, turns and zooms a little, over ground that is not flat.
        angle, zoom = turn * 40 * np.sin(k / 45 + phases[0]), 1 + 0.12 * np.sin(k / 60 + phases[1])
        u, v = (columns - width / 2) * zoom, (rows - height / 2) * zoom
        pan = (
            width + speed[0] * k + 1.5 * np.sin(k / 3.7 + phases[4]),
            height + speed[1] * k + 1.5 * np.sin(k / 4.3 + phases[5]),
        )
        at_x = u * np.cos(angle) - v * np.sin(angle) + pan[0] + 3 * np.sin(rows / 37 + k / 11 + phases[2])
        at_y = u * np.sin(angle) + v * np.cos(angle) + pan[1] + 3 * np.sin(columns / 41 + k / 13 + phases[3])
        at_x += 1.2 * np.sin(leaves[..., 0] + k / 1.7)  # each place moves a little by itself, as leaves and faces do
        at_y += 1.2 * np.sin(leaves[..., 1] + k / 2.1)
        cos, sin = np.cos(k / 30), np.sin(k / 30)
        for place, part, radius in zip(places + speeds * k, parts, radii, strict=True):
            at = place % (width, height)
            low, high = np.maximum(at - 1.2 * radius, 0).astype(int), (at + 1.2 * radius).astype(int) + 1
            box = slice(low[1], high[1]), slice(low[0], high[0])
            dx, dy = columns[:, box[1]] - at[0], rows[box[0]] - at[1]
            inside = dx * dx + dy * dy < radius * radius * (1 + 0.3 * np.sin(3 * np.arctan2(dy, dx) + k / 5))
            at_x[box][inside] = (part[0] + dx * cos - dy * sin)[inside]
            at_y[box][inside] = (part[1] + dx * sin + dy * cos)[inside]
        image = _sample(field, at_x.astype(np.float32), at_y.astype(np.float32))
        grain = 4 * rng.standard_normal((height, width, 1), np.float32)
        yield np.clip(image + grain, 0, 255).astype(np.uint8)


def _sample(field: Any, x: Any, y: Any) -> Any:
    """Reads a field between its points, bilinearly; beyond its edges it goes on mirrored: float32 [H, W, 3]."""
    if cv2:
        return cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    height, width = field.shape[:2]
    x, y = (width - 2) - np.abs(x % (2 * width - 4) - (width - 2)), (height - 2) - np.abs(y % (2 * height - 4) - (height - 2))
    column, row = x.astype(np.int32), y.astype(np.int32)
    fx, fy = (x - column)[..., None], (y - row)[..., None]
    points, place = field.reshape(-1, 3), row * width + column
    above = points[place] * (1 - fx) + points[place + 1] * fx
    below = points[place + width] * (1 - fx) + points[place + width + 1] * fx
    return above * (1 - fy) + below * fy


def _texture(rng: np.random.Generator, height: int, width: int) -> Any:
    """Returns a field with detail at every scale, as in nature: float32 [H, W, 3]."""
    field = np.full((height, width, 3), 128, np.float32)
    for cell in (128, 48, 16, 6, 3):
        points = rng.normal(0, 16 * cell**0.15, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        rows, columns = np.arange(height) / cell, np.arange(width) / cell
        i, j = rows.astype(int), columns.astype(int)
        fy, fx = (rows - i)[:, None, None], (columns - j)[None, :, None]
        top = points[i][:, j] * (1 - fx) + points[i][:, j + 1] * fx
        field += top * (1 - fy) + (points[i + 1][:, j] * (1 - fx) + points[i + 1][:, j + 1] * fx) * fy
    return field
