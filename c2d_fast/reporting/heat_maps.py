"""Draws over a video's frames which places of them speak for a class. No torch, no DALI."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.reporting.overlay import write_drawn
from c2d_fast.reporting.sheet import INK, Tile, draw_sheet, write_png

FORMATS = (".mp4", ".png")
SHEET_PX = 224  # shorter side of a frame on a sheet
_COVERS = 0.65  # of the picture, where a map is hottest
_UNSEEN = 0.5  # of the picture's light is left where the model has not looked
_WARMTH = (0.0, 0.35, 0.65, 1.0)
_COLOURS = ((0, 0, 255), (0, 255, 255), (255, 255, 0), (255, 0, 0))  # RGB


@dataclass(frozen=True)
class HeatMaps:
    """What a model has seen of some frames of a video, and where it was warm."""

    frames: NDArray[np.int64]
    """Numbers of the frames, rising, [F]."""
    maps: NDArray[np.float32]
    """0..1, [F, h, w]."""
    box: NDArray[np.float32]
    """What the model has seen of a frame, as it is shown: x0, y0, x1, y1 as parts of it, float32 [4]."""
    centres: NDArray[np.float64]
    """Where the cells of a row and of a column lie, as parts of the box, 0..1, [h]: h and w are one number."""
    flip: bool = False
    """Whether the model has seen it mirrored."""

    def on_frame(self, place: int, height: int, width: int) -> NDArray[np.float32]:
        """Returns how warm each pixel of a frame is.

        Between cells the map is bilinear; beyond the outermost ones it is theirs.

        Args:
            place: of the frame among frames.
            height: of the frame as it is shown, whole, in pixels.
            width: likewise.

        Returns:
            float32 [height, width], 0..1; -1 outside the box.
        """
        x0, y0, x1, y1 = self.box.astype(np.float64).tolist()
        rows, columns = _part_of(height, y0, y1), _part_of(width, x0, x1)
        seen = np.logical_and.outer((rows >= 0) & (rows <= 1), (columns >= 0) & (columns <= 1))
        across = _weights(1 - columns if self.flip else columns, self.centres)
        heat = _weights(rows, self.centres) @ self.maps[place] @ across.T
        return np.where(seen, heat, -1).astype(np.float32)

    def nearest(self, frame: int) -> int:
        """Returns the place among frames of the one that is nearest to a frame of the video; of two the earlier one."""
        return int(np.abs(self.frames - frame).argmin())

    def draw(self, picture: NDArray[np.uint8], place: int) -> NDArray[np.uint8]:
        """Draws a frame's map over it; what the model has not seen is darker.

        Args:
            picture: the frame as it is shown, whole, of any size, RGB uint8 [H, W, C].
            place: of the frame among frames.

        Returns:
            uint8 [H, W, C].
        """
        return _over(picture, self._layer(place, *picture.shape[:2]))

    def draw_all(self, pictures: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        """Yields a video's frames from the first to the last that the model has seen, each with the map of the nearest one."""
        drawn, layer, shape = -1, None, None
        for number, picture in enumerate(pictures):
            if number >= self.frames[0]:
                shape = shape or picture.shape
                if picture.shape != shape:  # a stream that changes its size within: the first size stands
                    return
                if layer is None or drawn != self.nearest(number):
                    drawn = self.nearest(number)
                    layer = self._layer(drawn, *shape[:2])
                yield _over(picture, layer)
            if number >= self.frames[-1]:
                return

    def _layer(self, place: int, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns what is left of each pixel, float32 [height, width, 1], and what is added to it, [height, width, C]."""
        heat = self.on_frame(place, height, width)
        channels = zip(*_COLOURS, strict=True)
        colours = np.stack([np.interp(heat, _WARMTH, channel).astype(np.float32) for channel in channels], -1)
        cover: NDArray[np.float32] = np.float32(_COVERS) * heat.clip(0)[..., None]
        light = np.where(heat < 0, np.float32(_UNSEEN), np.float32(1))[..., None]
        return (light * (1 - cover)).astype(np.float32), colours * cover


def write_sheet(heat: HeatMaps, pictures: Sequence[NDArray[np.uint8]], title: str, path: Path, what: str) -> None:
    """Writes the frames with their maps as a PNG file, whole or not at all.

    Args:
        heat: the maps.
        pictures: the frames, whole, of one size, RGB uint8 [H, W, C] each.
        title: stands above.
        path: of the file.
        what: the flag that named it, for messages.

    Raises:
        UserError: it cannot be written.
    """
    tiles = [
        Tile(heat.draw(picture, place)[None], [(f"frame {heat.frames[place]}: {heat.maps[place].max():.2f}", INK)])
        for place, picture in enumerate(pictures)
    ]
    sheet = draw_sheet(tiles, frame_px=SHEET_PX, title=title)
    try:
        with atomic_write(path) as partial:
            write_png(sheet, partial)
    except OSError as error:
        raise UserError(f"{what} {path}: cannot be written ({error.strerror}); free the disk or give another file") from error


def write_heat_video(heat: HeatMaps, source: Path, target: Path, what: str) -> int:
    """Writes a video from the first of the frames to the last, at its rate; each with the map of the nearest one.

    Args:
        heat: the maps.
        source: the video.
        target: ends in .mp4.
        what: the flag that named it, for messages.

    Returns:
        How many frames there are.

    Raises:
        UserError: the video cannot be read, or the other one not written.
    """
    return write_drawn(source, target, lambda frames, _: heat.draw_all(frames), what)


def _over(picture: NDArray[np.uint8], layer: tuple[NDArray[np.float32], NDArray[np.float32]]) -> NDArray[np.uint8]:
    drawn: NDArray[np.uint8] = np.rint(picture * layer[0] + layer[1]).astype(np.uint8)
    return drawn


def _part_of(length: int, low: float, high: float) -> NDArray[np.float64]:
    """Returns where the middles of a row's pixels lie in a part of it: 0 at its beginning, 1 at its end, [length]."""
    parts: NDArray[np.float64] = ((np.arange(length) + 0.5) / length - low) / (high - low)
    return parts


def _weights(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns what each cell of a row weighs at each point: [points, cells]."""
    places = np.interp(points, centres, np.arange(len(centres)))
    weights: NDArray[np.float64] = np.maximum(1 - np.abs(places[:, None] - np.arange(len(centres))), 0)
    return weights
