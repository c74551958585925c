"""Draws clips as pictures with a few words: contact sheets for TensorBoard and for files. No torch, no DALI."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

GREEN, RED, INK, PAPER = (20, 120, 40), (190, 30, 30), (30, 30, 30), (255, 255, 255)
_GAP, _TEXT_PX, _LINE_PX = 8, 13, 17
_CELL_PX = 300  # for the words, where a clip is short

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Tile:
    """A clip and the lines that stand above it."""

    clip: NDArray[np.uint8]
    """RGB [T, H, W, C]."""
    lines: Sequence[tuple[str, Colour]]


def draw_sheet(tiles: Sequence[Tile], *, frame_px: int = 112, width: int = 1860, title: str = "") -> NDArray[np.uint8]:
    """Draws clips, their frames from left to right.

    Args:
        tiles: one at least, clips of one length.
        frame_px: shorter side of a frame in the picture.
        width: of the picture, in pixels, as far as one clip fits it.
        title: stands above all.

    Returns:
        RGB, uint8 [H, W, C].
    """
    strips, title = [_strip(tile.clip, frame_px) for tile in tiles], _printable(title)
    cell_px, height = max(strips[0].width, _CELL_PX), strips[0].height
    num_lines = max(len(tile.lines) for tile in tiles)
    cell_w, cell_h = cell_px + _GAP, num_lines * _LINE_PX + height + 2 * _GAP
    columns = min(max(width // cell_w, 1), len(tiles))
    top = _LINE_PX + _GAP if title else 0
    size = (max(columns * cell_w + _GAP, _GAP + text_width(title)), top + -(-len(tiles) // columns) * cell_h)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP // 2), title, INK, font())
    for index, (tile, strip) in enumerate(zip(tiles, strips, strict=True)):
        x, y = _GAP + index % columns * cell_w, top + index // columns * cell_h
        for number, (text, colour) in enumerate(tile.lines):
            draw.text((x, y + number * _LINE_PX), fit_text(text, cell_px), colour, font())
        sheet.paste(strip, (x, y + num_lines * _LINE_PX))
    return np.asarray(sheet)


def encode_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """Returns a picture as a JPEG file: many times quicker to write than PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=88)
    return file.getvalue()


def write_png(picture: NDArray[np.uint8], path: Path) -> None:
    """Writes a picture as a PNG file, whatever its name ends in."""
    Image.fromarray(picture).save(path, "PNG")


def draw_text(lines: Sequence[tuple[str, Colour]], width: int, *, text_px: int = _TEXT_PX) -> NDArray[np.uint8]:
    """Draws lines of text on black: RGB, uint8 [H, width, C]."""
    line_px = round(1.35 * text_px)
    picture = Image.new("RGB", (width, line_px * len(lines) + text_px // 2), (0, 0, 0))
    draw = ImageDraw.Draw(picture)
    for number, (text, colour) in enumerate(lines):
        corner = (text_px // 2, text_px // 4 + number * line_px)
        draw.text(corner, fit_text(text, width - text_px, text_px), colour, font(text_px))
    return np.asarray(picture)


def fit_text(text: str, width: int, text_px: int = _TEXT_PX) -> str:
    """Shortens a text in its middle to so many pixels: of a path both ends tell most."""
    text = _printable(text)
    if text_width(text, text_px) <= width:
        return text
    kept = next((n for n in range(min(len(text), 400) - 1, 1, -1) if text_width(_middle(text, n), text_px) <= width), 0)
    return _middle(text, kept) if kept else ""


def text_width(text: str, text_px: int = _TEXT_PX) -> int:
    """Returns how many pixels wide a line of text is."""
    return int(font(text_px).getlength(text)) + 1


@cache
def font(text_px: int = _TEXT_PX) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns the font that everything is written in: matplotlib's, which has letters of many languages."""
    spec = find_spec("matplotlib")  # not imported: that takes half a second
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
        if path.is_file():
            return ImageFont.truetype(str(path), text_px)
    return ImageFont.load_default(text_px)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text.encode(errors="replace").decode())


def _middle(text: str, kept: int) -> str:
    return f"{text[: kept // 2]}…{text[len(text) - kept + kept // 2 :]}"


def _strip(clip: NDArray[np.uint8], frame_px: int) -> Image.Image:
    height, width = clip.shape[1:3]
    scale = frame_px / min(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    frames = [Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR) for frame in clip]
    strip = Image.new("RGB", ((size[0] + 2) * len(frames) - 2, size[1]), PAPER)
    for number, frame in enumerate(frames):
        strip.paste(frame, (number * (size[0] + 2), 0))
    return strip
