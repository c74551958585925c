"""Videos for benchmarks, of the size and length of Kinetics clips: a drifting background, moving objects, grain, cuts.

Made by the arguments alone. How well they compress lies between that of calm and of busy real clips; where real clips are at
hand, a benchmark's --list takes them.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np

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
    encoder, ending, options = ENCODERS[codec]
    paths = [folder / f"{number:03d}.{ending}" for number in range(count)]

    def make(number: int) -> None:
        partial = paths[number].with_suffix(f".partial.{ending}")
        with av.open(str(partial), "w") as container:
            stream: Any = container.add_stream(encoder, rate=30, options={"g": str(gop), "threads": "1", **options})
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for image in frames(number, num_frames, width, height):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        partial.rename(paths[number])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make, [number for number in range(count) if not paths[number].exists()]))
    return paths


def frames(number: int, num_frames: int, width: int, height: int) -> Iterator[Any]:
    """Draws a video, frame after frame: RGB, uint8 [H, W, C]."""
    rng = np.random.default_rng([7, number])
    cut = int(rng.integers(num_frames // 3, num_frames))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for k in range(num_frames):
        if k in (0, cut):
            field = _texture(rng, 2 * height, 2 * width)
            speed, start = rng.uniform(-2, 2, 2), rng.integers(0, height, 2)
            places, speeds = rng.uniform(0.2, 0.8, (3, 2)) * (width, height), rng.normal(0, 2.5, (3, 2))
            colours, radii = rng.uniform(0, 255, (3, 3)), rng.uniform(0.08, 0.2, 3) * height
        at = ((start + speed * k) % height).astype(int)
        image = field[at[0] : at[0] + height, at[1] : at[1] + width].copy()
        for place, colour, radius in zip(places + speeds * k, colours, radii, strict=True):
            u, v = (x - place[0] % width) / radius, (y - place[1] % height) / radius
            inside = u * u + v * v < 1
            image[inside] = (colour + 40 * np.sin(5 * u + k / 9)[..., None])[inside]
        yield np.clip(image + rng.normal(0, 3, (height, width, 1)), 0, 255).astype(np.uint8)


def _texture(rng: np.random.Generator, height: int, width: int) -> Any:
    """Returns a field with detail at every scale, as in nature: float32 [H, W, 3]."""
    field = np.full((height, width, 3), 128, np.float32)
    for cell in (128, 48, 16, 6):
        points = rng.normal(0, 10 * cell**0.3, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        rows, columns = np.arange(height) / cell, np.arange(width) / cell
        i, j = rows.astype(int), columns.astype(int)
        fy, fx = (rows - i)[:, None, None], (columns - j)[None, :, None]
        top = points[i][:, j] * (1 - fx) + points[i][:, j + 1] * fx
        field += top * (1 - fy) + (points[i + 1][:, j] * (1 - fx) + points[i + 1][:, j + 1] * fx) * fy
    return field
