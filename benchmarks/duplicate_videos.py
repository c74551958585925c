"""Videos for benchmarks/duplicates.py: as diverse as can be drawn, their copies, and what resembles them and is no copy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import generated
import numpy as np

WIDTH, HEIGHT, LENGTH, RATE = 256, 192, 60, 15
"""Of a video: pixels, frames, frames per second."""
Image = Any
"""RGB, uint8 [H, W, 3]."""
Draw = Callable[[int, int], Iterator[Image]]
"""draw(number, frames): a video's images."""


def _noise(rng: np.random.Generator, cell: int, strength: float) -> Any:
    points = rng.normal(0, strength, (HEIGHT // cell + 2, WIDTH // cell + 2, 3)).astype(np.float32)
    return cv2.resize(points, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def _scene(rng: np.random.Generator) -> Any:
    """A picture with detail at all scales: float32 [H, W, 3]."""
    return rng.uniform(70, 180, 3).astype(np.float32) + sum(_noise(rng, cell, 9 * cell**0.3) for cell in (96, 40, 16, 6))


def _blob(image: Any, x: float, y: float, rx: float, ry: float, colour: Any) -> None:
    cv2.ellipse(image, (int(x), int(y)), (max(int(rx), 1), max(int(ry), 1)), 0, 0, 360, [float(c) for c in colour], -1)


def _done(image: Any, rng: np.random.Generator, grain: float = 3.0) -> Image:
    return np.clip(image + grain * rng.standard_normal((HEIGHT, WIDTH, 1), np.float32), 0, 255).astype(np.uint8)


def camera(number: int, frames: int) -> Iterator[Image]:
    """A hand-held camera, turning objects, a cut."""
    yield from generated.frames(1000 + number, frames, WIDTH, HEIGHT)


def dark(number: int, frames: int) -> Iterator[Image]:
    """The same in the dark."""
    for image in generated.frames(2000 + number, frames, WIDTH, HEIGHT):
        yield (image * 0.28).astype(np.uint8)


def static(number: int, frames: int) -> Iterator[Image]:
    """A camera on a tripod: small things move before a scene that stays."""
    rng = np.random.default_rng([11, number])
    scene, things = _scene(rng), rng.uniform(0, 1, (4, 8))
    for k in range(frames):
        image = scene.copy()
        for x, y, dx, dy, size, *colour in things:
            at = ((x + (dx - 0.5) * k / 60) % 1 * WIDTH, (y + (dy - 0.5) * k / 60) % 1 * HEIGHT)
            _blob(image, *at, 4 + 14 * size, 4 + 10 * size, 255 * np.array(colour))
        yield _done(image, rng)


def portrait(number: int, frames: int) -> Iterator[Image]:
    """Somebody who talks, in the middle of the picture, as in very many videos."""
    rng = np.random.default_rng([12, number])
    scene = cv2.GaussianBlur(_scene(rng), (0, 0), 5)
    skin, hair, shirt = rng.uniform((110, 80, 60), (235, 190, 160)), rng.uniform(15, 120, 3), rng.uniform(0, 255, 3)
    size, x, y = rng.uniform(30, 55), rng.uniform(0.4, 0.6) * WIDTH, rng.uniform(0.35, 0.5) * HEIGHT
    phases = rng.uniform(0, 6.3, 4)
    for k in range(frames):
        image, u = scene.copy(), x + 5 * np.sin(k / 9 + phases[0]) + 8 * np.sin(k / 40 + phases[1])
        v = y + 3 * np.sin(k / 7 + phases[2])
        _blob(image, u, v + 2.6 * size, 1.9 * size, 1.6 * size, shirt)
        _blob(image, u, v - 0.2 * size, 0.85 * size, 1.15 * size, hair)
        _blob(image, u, v + 0.1 * size, 0.7 * size, 0.95 * size, skin)
        for side in (-1, 1):
            _blob(image, u + side * 0.28 * size, v - 0.1 * size, 0.12 * size, 0.07 * size, (20, 20, 20))
        _blob(image, u, v + 0.55 * size, 0.25 * size, 0.06 * size * (2 + np.sin(k / 1.7 + phases[3])), (90, 20, 30))
        yield _done(image, rng)


def landscape(number: int, frames: int) -> Iterator[Image]:
    """Sky above, ground below, which pans."""
    rng = np.random.default_rng([13, number])
    wide = np.concatenate([_scene(rng) for _ in range(3)], 1)
    horizon = int(rng.uniform(0.3, 0.7) * HEIGHT)
    ridge = horizon + np.cumsum(rng.normal(0, 0.8, 3 * WIDTH))
    sky = np.linspace(0.5, 1, HEIGHT)[:, None, None] * rng.uniform((90, 130, 190), (190, 210, 255))
    wide = np.where(np.arange(HEIGHT)[:, None, None] < ridge[None, :, None], sky, 0.7 * wide).astype(np.float32)
    speed = rng.uniform(0.4, 2.5)
    for k in range(frames):
        left = int(speed * k) % (2 * WIDTH)
        yield _done(wide[:, left : left + WIDTH], rng)


def slides(number: int, frames: int) -> Iterator[Image]:
    """A talk's slides, or a screen: text on a plain ground."""
    rng = np.random.default_rng([14, number])
    ground = rng.uniform(200, 255, 3) if number % 3 else rng.uniform(10, 60, 3)
    ink = 255 - ground
    for k in range(frames):
        if k % 25 == 0:
            image = np.full((HEIGHT, WIDTH, 3), ground).astype(np.uint8)
            left = int(rng.uniform(8, 60))
            for line in range(int(rng.integers(3, 10))):
                words = "".join(rng.choice(list("abcdefgh iklmnop rstuvw "), int(rng.integers(6, 24))))
                cv2.putText(image, words, (left, 24 + 17 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.45, ink.tolist(), 1, cv2.LINE_AA)
            if rng.uniform() < 0.5:
                x, y = rng.uniform(0.3, 0.7, 2) * (WIDTH, HEIGHT)
                picture = np.clip(_scene(rng), 0, 255)[:64, :80]
                image[int(y) : int(y) + 50, int(x) : int(x) + 70] = picture[:50, :70][: HEIGHT - int(y), : WIDTH - int(x)]
        yield _done(image, rng, 0.7)


def cartoon(number: int, frames: int) -> Iterator[Image]:
    """A few large plain shapes that move."""
    rng = np.random.default_rng([15, number])
    ground, things = rng.uniform(0, 255, 3), rng.uniform(0, 1, (6, 8))
    for k in range(frames):
        image = np.full((HEIGHT, WIDTH, 3), ground, np.float32)
        for x, y, dx, dy, size, *colour in things:
            at = ((x + (dx - 0.5) * k / 40) % 1 * WIDTH, (y + (dy - 0.5) * k / 40) % 1 * HEIGHT)
            _blob(image, *at, 10 + 50 * size, 10 + 40 * size, 255 * np.array(colour))
        yield _done(image, rng, 0.7)


def sport(number: int, frames: int) -> Iterator[Image]:
    """A field with lines from far above, players, a camera that follows."""
    rng = np.random.default_rng([16, number])
    grass = rng.uniform((20, 90, 20), (110, 170, 110))
    field = np.full((2 * HEIGHT, 2 * WIDTH, 3), grass, np.float32)
    field += cv2.resize(_noise(rng, 16, 8), (2 * WIDTH, 2 * HEIGHT))
    field[:, ::64] = 230
    field[:: int(rng.integers(50, 120))] = 230
    players, phases = rng.uniform(0, 1, (14, 7)), rng.uniform(0, 6.3, 2)
    for k in range(frames):
        image = field.copy()
        for x, y, dx, dy, *colour in players:
            at = ((x + (dx - 0.5) * k / 50) % 1 * 2 * WIDTH, (y + (dy - 0.5) * k / 50) % 1 * 2 * HEIGHT)
            _blob(image, *at, 5, 11, 255 * np.array(colour))
        left, top = (np.array([WIDTH, HEIGHT]) * (0.5 + 0.45 * np.sin(k / 25 + phases))).astype(int)
        yield _done(image[top : top + HEIGHT, left : left + WIDTH], rng)


KINDS: dict[str, Draw] = {
    "camera": camera, "portrait": portrait, "landscape": landscape, "sport": sport, "static": static, "slides": slides,
    "cartoon": cartoon, "dark": dark,
}  # fmt: skip
STATIC = frozenset({"static", "portrait"})
"""Kinds whose camera stands still: other moments of them look alike."""


def flat(number: int) -> Iterator[Image]:
    """Black, grey and white, a little grain, and fades between them."""
    rng = np.random.default_rng([17, number])
    level, end = rng.choice([2, 5, 16, 40, 128, 250], 2) if number % 2 else [16, 16]
    for k in range(LENGTH):
        image = np.full((HEIGHT, WIDTH, 3), level + (end - level) * k / LENGTH, np.float32)
        yield _done(image, rng, 1.0 + number % 3)


@dataclass(frozen=True)
class Copy:
    """How a copy is made."""

    encoder: str
    ending: str
    options: dict[str, str]
    scale: float = 1.0
    rate: float = 1.0
    """Frames of the copy for each of the source."""
    change: Callable[[Image], Image] = lambda image: image
    skip: float = 0.0
    """Share of the source that is cut off at its beginning."""


def _crop(share: float) -> Callable[[Image], Image]:
    x, y = int(share * WIDTH), int(share * HEIGHT)
    return lambda image: image[y : HEIGHT - y, x : WIDTH - x]


_X265 = "log-level=none:pools=none:frame-threads=1"
_VP9 = {"b": "0", "deadline": "realtime", "cpu-used": "8"}
SOURCE = Copy("libx264", "mp4", {"crf": "20", "preset": "veryfast"})
COPIES: dict[str, Copy] = {
    "h264, crf 28": Copy("libx264", "mp4", {"crf": "28", "preset": "veryfast"}),
    "h264, crf 38": Copy("libx264", "mp4", {"crf": "38", "preset": "veryfast"}),
    "hevc, crf 32": Copy("libx265", "mp4", {"crf": "32", "preset": "ultrafast", "x265-params": _X265}),
    "vp9, crf 45": Copy("libvpx-vp9", "webm", {"crf": "45", **_VP9}),
    "half the size": Copy("libx264", "mp4", {"crf": "26", "preset": "veryfast"}, scale=0.5),
    "2/3 of the frames": Copy("libx264", "mp4", {"crf": "26", "preset": "veryfast"}, rate=2 / 3),
    "twice the frames": Copy("libx264", "mp4", {"crf": "26", "preset": "veryfast"}, rate=2),
    "mpeg4, half the size, 4/5 of the frames": Copy("mpeg4", "avi", {"q:v": "8"}, scale=0.5, rate=0.8),
}
"""The copies that must be found; the sources take turns."""
HARDER: dict[str, Copy] = {
    "3 % cut off each side": Copy("libx264", "mp4", {"crf": "26", "preset": "veryfast"}, change=_crop(0.03)),
    "8 % cut off each side": Copy("libx264", "mp4", {"crf": "26", "preset": "veryfast"}, change=_crop(0.08)),
    "brighter, less contrast": Copy(
        "libx264", "mp4", {"crf": "26", "preset": "veryfast"}, change=lambda image: (60 + 0.7 * image).astype(np.uint8)
    ),
    "first 10 % cut off": Copy("libx264", "mp4", {"crf": "26", "preset": "veryfast"}, skip=0.1),
    "mirrored": Copy("libx264", "mp4", {"crf": "26", "preset": "veryfast"}, change=lambda image: image[:, ::-1]),
}
"""Reported apart."""


def write_video(path: Path, images: list[Image], how: Copy) -> None:
    """Encodes a video's images as a copy of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = images[int(how.skip * len(images)) :]
    count = round(len(images) * how.rate)
    partial = path.with_name(f"partial-{path.name}")
    with av.open(str(partial), "w") as container:
        stream: Any = container.add_stream(how.encoder, rate=round(RATE * how.rate), options={"threads": "1", **how.options})
        height, width = how.change(images[0]).shape[:2]
        stream.width, stream.height = (int(how.scale * side) // 2 * 2 for side in (width, height))
        stream.pix_fmt = "yuv420p"
        for k in range(count):
            image = np.ascontiguousarray(how.change(images[min(int(k / how.rate), len(images) - 1)]))
            image = cv2.resize(image, (stream.width, stream.height), interpolation=cv2.INTER_AREA)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    partial.rename(path)


def real_images(path: Path) -> list[Image]:
    """Decodes a clip: all its frames, in the size of the drawn ones."""
    with av.open(str(path)) as container:
        return [
            cv2.resize(frame.to_ndarray(format="rgb24"), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
            for frame in container.decode(video=0)
        ]
