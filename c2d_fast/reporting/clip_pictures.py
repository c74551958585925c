"""Contact sheets of clips, as pictures or playing. No torch, no DALI."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.reporting.sheet import Tile, draw_sheet, write_png
from c2d_fast.video.writer import write_video

_ON_A_PAGE = 30  # a video's test views
_FRAMES_PER_S = Fraction(4)  # about as frames 8 apart really follow each other
_PICTURES = 24  # at least: clips are repeated until there are so many


def paginate(tiles: Sequence[Tile]) -> list[Sequence[Tile]]:
    """Parts clips into sheets."""
    return [tiles[start : start + _ON_A_PAGE] for start in range(0, len(tiles), _ON_A_PAGE)]


def write_pages(pages: Sequence[Sequence[Tile]], path: Path, title: str) -> list[Path]:
    """Writes a sheet for each page: path, then path with -2, -3 ... before its ending.

    Raises:
        UserError: one cannot be written.
    """
    paths = [
        path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, len(pages) + 1)
    ]
    for page, target in zip(pages, paths, strict=True):
        picture = draw_sheet(page, title=title)
        try:
            with atomic_write(target) as partial:
                write_png(picture, partial)
        except OSError as error:
            raise UserError(f"--png {target}: cannot be written ({error.strerror}); give another file") from error
    return paths


def write_animation(tiles: Sequence[Tile], path: Path, title: str) -> None:
    """Writes a video in which clips play beside each other, again and again.

    Raises:
        UserError: it cannot be written.
    """

    def pictures() -> Iterator[NDArray[np.uint8]]:
        num_frames = len(tiles[0].clip)
        for number in -(-_PICTURES // num_frames) * list(range(num_frames)):
            yield draw_sheet([replace(tile, clip=tile.clip[number : number + 1]) for tile in tiles], frame_px=224, title=title)

    write_video(pictures(), path, _FRAMES_PER_S, "--mp4")
