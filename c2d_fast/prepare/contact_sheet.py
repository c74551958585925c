"""A picture of pairs of videos, side by side, for a look at whether they are copies."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.prepare.checked_lists import CheckedVideo
from c2d_fast.prepare.duplicates import Findings, Pair
from c2d_fast.prepare.frame_hash import frame_numbers, read_images
from c2d_fast.prepare.packet_hash import hashed_or_why_not
from c2d_fast.prepare.watched import in_watched_rounds

_MOST_PAIRS, _MOST_EXACT = 24, 6
_FRAMES, _FRAME_PX = 3, (160, 120)
_GAP, _LINE_PX, _TEXT_PX = 8, 17, 13
_INK, _RED, _PAPER, _MISSING = (30, 30, 30), (190, 30, 30), (255, 255, 255), (225, 225, 225)


@dataclass(frozen=True)
class Pictures:
    """What a child process has decoded of a file."""

    images: tuple[NDArray[np.uint8], ...] = ()
    """RGB [H, W, 3], scaled into _FRAME_PX."""
    reason: str = ""


def read_pictures(video: CheckedVideo, tick: Callable[[], object]) -> Pictures:
    """Decodes a few frames of a video, small; runs in a child process."""
    images: list[NDArray[np.uint8]] = []

    def make() -> tuple[str, ...]:
        numbers = np.unique(frame_numbers(video.num_frames, _FRAMES))
        images.extend(read_images(video, numbers, tick, _scaled))
        return ()

    why_not = hashed_or_why_not(video, make).reason
    return Pictures(() if why_not else tuple(images), why_not)


def write_sheet(findings: Findings, args: argparse.Namespace) -> str:
    """Writes the first pairs as a PNG picture; returns a line for the user.

    Raises:
        UserError: it cannot be written.
    """
    pairs = findings.ordered()
    exact, near = [pair for pair in pairs if pair.kind != "near"], [pair for pair in pairs if pair.kind == "near"]
    chosen = {
        *exact[: max(_MOST_EXACT, _MOST_PAIRS - len(near))],
        *near[: max(_MOST_PAIRS - _MOST_EXACT, _MOST_PAIRS - len(exact))],
    }
    shown = [pair for pair in pairs if pair in chosen]
    if not shown:
        return f"there are no pairs to be shown: {args.png} is not written"
    videos = [findings.lists.video(number) for number in sorted({n for pair in shown for n in (pair.first, pair.second)})]
    results = in_watched_rounds(read_pictures, videos, args, lambda video: video.path)
    pictures = {video.number: result for video, result in results}
    try:
        with atomic_write(args.png) as partial:
            _draw(findings, shown, pictures).save(partial, "PNG")
    except OSError as error:
        raise UserError(f"--png {args.png}: cannot be written ({error.strerror}); give another file") from error
    return f"{len(shown)} of {len(pairs)} pairs drawn in {args.png}"


def _draw(findings: Findings, pairs: list[Pair], pictures: dict[int, Any]) -> Image.Image:
    half = _FRAMES * (_FRAME_PX[0] + 2)
    row = 2 * _LINE_PX + _FRAME_PX[1] + 2 * _GAP
    sheet = Image.new("RGB", (2 * half + 3 * _GAP, row * len(pairs) + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, pair in enumerate(pairs):
        top = _GAP + place * row
        differ = not findings.lists.same_label(pair.first, pair.second)
        head = {"file": "the same file", "exact": "the same packets"}.get(pair.kind, f"alike, {pair.distance:.1f} bits apart")
        draw.text((_GAP, top), head + (", labels differ" if differ else ""), _RED if differ else _INK, _font())
        for side, number in enumerate((pair.first, pair.second)):
            left, result = _GAP + side * (half + _GAP), pictures[number]
            text = f"{findings.lists.describe(number)}, label {findings.lists.label(number)}"
            draw.text((left, top + _LINE_PX), _fitted(text, half), _INK, _font())
            images = getattr(result, "images", ())  # of a process that has crashed there are none
            if not images:
                draw.rectangle((left, top + 2 * _LINE_PX, left + half - 2, top + 2 * _LINE_PX + _FRAME_PX[1]), _MISSING)
                draw.text((left + _GAP, top + 3 * _LINE_PX), _fitted(result.reason, half - 2 * _GAP), _RED, _font())
            for index, image in enumerate(images):
                sheet.paste(Image.fromarray(image), (left + index * (_FRAME_PX[0] + 2), top + 2 * _LINE_PX))
    return sheet


def _scaled(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = Image.fromarray(np.ascontiguousarray(image))
    scale = min(_FRAME_PX[0] / picture.width, _FRAME_PX[1] / picture.height)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))


def _fitted(text: str, width: int) -> str:
    """Shortens a text in its middle to so many pixels: of a path both ends tell most."""
    text = "".join(c if c.isprintable() else "?" for c in text.encode(errors="replace").decode())
    kept = len(text)
    while kept > 2 and _font().getlength(_middle(text, kept)) > width:
        kept -= 1
    return _middle(text, kept)


def _middle(text: str, kept: int) -> str:
    return text if kept >= len(text) else f"{text[: kept // 2]}…{text[len(text) - kept + kept // 2 :]}"


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns matplotlib's font, which has letters of many languages, or else Pillow's."""
    spec = find_spec("matplotlib")  # not imported: that takes half a second
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
        if path.is_file():
            return ImageFont.truetype(str(path), _TEXT_PX)
    return ImageFont.load_default(_TEXT_PX)
