"""A video with what it shows now written over it, and below it a line of all its segments. No torch, no DALI."""

import colorsys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2d_fast.reporting.overlay import LEAST_TEXT_PX, SHADE, TEXT_PART, write_drawn
from c2d_fast.reporting.segments import Segment
from c2d_fast.reporting.sheet import Colour, draw_text

_BAR_PART = 24  # of the picture's height is the line's
_GOLDEN = 0.618  # turns of the colour circle from a label to the next one: neighbours differ


def write_timeline(source: Path, target: Path, segments: Sequence[Segment], classes: Sequence[str], duration_s: float) -> int:
    """Writes all frames of a video, upright, with the segments that each lies in, and a line that shows them all.

    Args:
        source: the video.
        target: ends in .mp4; gets no sound.
        segments: by their start.
        classes: names by label.
        duration_s: of the video.

    Returns:
        How many frames there were.

    Raises:
        UserError: it cannot be read or written.
    """
    return write_drawn(source, target, lambda frames, rate: _drawn(frames, segments, classes, duration_s, rate))


def _drawn(
    frames: Iterator[NDArray[np.uint8]],
    segments: Sequence[Segment],
    classes: Sequence[str],
    duration_s: float,
    rate: Fraction,
) -> Iterator[NDArray[np.uint8]]:
    bar, shape, panels = None, (0, 0, 0), dict[tuple[str, ...], NDArray[np.uint8]]()
    for number, frame in enumerate(frames):
        now_s = float(number / rate)
        if bar is None:
            shape = frame.shape
            bar = timeline(segments, duration_s, shape[1], max(shape[0] // _BAR_PART, 4))
        if frame.shape != shape:  # a stream that changes its size within: the first size stands
            break
        picture = frame.copy()
        shown = [segment for segment in segments if segment.start_s <= now_s < segment.end_s]
        words = tuple(f"{100 * segment.score:3.0f} %  {classes[segment.label]}" for segment in shown)
        if words:
            text_px = max(shape[0] // TEXT_PART, LEAST_TEXT_PX)
            if words not in panels:
                panels.clear()  # few are shown again, and a long video has many
                panels[words] = draw_text([(word, (255, 255, 255)) for word in words], shape[1], text_px=text_px)
            panel = panels[words][-(shape[0] - len(bar)) :]
            above = picture[-len(bar) - len(panel) : -len(bar)]
            above[:] = np.maximum(above * SHADE, panel).astype(np.uint8)
        picture[-len(bar) :] = bar
        at = min(int(now_s / max(duration_s, 1e-9) * shape[1]), shape[1] - 1)
        picture[-len(bar) :, max(at - 1, 0) : at + 1] = 255
        yield picture


def timeline(segments: Sequence[Segment], duration_s: float, width: int, height: int) -> NDArray[np.uint8]:
    """Draws segments from left to right: RGB, uint8 [height, width, 3], dark where there is none."""
    bar = np.full((height, width, 3), 24, np.uint8)
    for segment in segments:
        low, high = (int(time_s / max(duration_s, 1e-9) * width) for time_s in (segment.start_s, segment.end_s))
        bar[1 : height - 1, low : max(high, low + 1)] = colour_of(segment.label)
    return bar


def colour_of(label: int) -> Colour:
    """Returns a label's colour."""
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN % 1, 0.7, 0.9)
    return int(255 * red), int(255 * green), int(255 * blue)
