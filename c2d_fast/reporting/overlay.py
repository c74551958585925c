"""Writes a video with a few lines over its pictures. No torch, no DALI."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.reporting.sheet import Colour, draw_text
from c2d_fast.video.demuxed import frames_of
from c2d_fast.video.orientation import apply_orientation
from c2d_fast.video.reader import DecodeError, frame_orientation, open_video, reason, video_stream
from c2d_fast.video.writer import write_video

TEXT_PART = 18  # of the picture's height is a letter's
LEAST_TEXT_PX = 11
_LEAST_WIDTH = 120  # for words to fit: narrower pictures are shown several times as large
SHADE = 0.4  # of the picture's light is left behind the words


def write_overlay(source: Path, target: Path, lines: Sequence[tuple[str, Colour]]) -> int:
    """Writes all frames of a video, upright, with lines at the bottom. Of an odd size the last row or column goes.

    Args:
        source: the video.
        target: ends in .mp4; gets no sound.
        lines: from top to bottom; those that do not fit the picture are left out.

    Returns:
        How many frames there were.

    Raises:
        UserError: it cannot be read or written.
    """
    return write_drawn(source, target, lambda frames, _: _with_lines(frames, lines))


def write_drawn(
    source: Path,
    target: Path,
    draw: Callable[[Iterator[NDArray[np.uint8]], Fraction], Iterator[NDArray[np.uint8]]],
    what: str = "--overlay",
) -> int:
    """Writes frames of a video, upright, with what is drawn over them; returns how many there were.

    Args:
        source: the video.
        target: ends in .mp4; gets no sound.
        draw: is given all frames, RGB uint8 [H, W, C], and how many are shown in a second; yields the pictures.
        what: the flag that named the target, for messages.

    Raises:
        UserError: it cannot be read or written.
    """
    try:
        with open_video(source) as container:
            stream = video_stream(container)
            stream.thread_type = "AUTO"
            rate = _rate_of(stream)
            return write_video(draw(_pictures_of(container, stream), rate), target, rate, what)
    except (av.FFmpegError, DecodeError, OSError) as error:
        raise UserError(f"{what} {target}: is not written, {source} {reason(error)}; mend it or leave it out") from error


def _rate_of(stream: av.VideoStream) -> Fraction:
    """Returns the frames in a second of a video that is written of another one."""
    rate = stream.average_rate or Fraction(25)
    return Fraction(rate).limit_denominator(1001) if 1 <= rate <= 240 else Fraction(25)


def _pictures_of(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[NDArray[np.uint8]]:
    """Yields a video's frames upright, RGB uint8 [H, W, C]; small ones several times as large, so that words fit.

    Raises:
        DecodeError: one does not decode.
    """
    try:
        for frame in frames_of(container, stream):
            picture: Any = apply_orientation(frame.to_ndarray(format="rgb24"), frame_orientation(frame))
            times = -(-_LEAST_WIDTH // picture.shape[1])
            yield picture.repeat(times, 0).repeat(times, 1) if times > 1 else picture
    except (av.FFmpegError, ValueError) as error:  # whoever writes the video would take it for an error of the disk
        raise DecodeError(reason(error)) from error


def _with_lines(frames: Iterator[NDArray[np.uint8]], lines: Sequence[tuple[str, Colour]]) -> Iterator[NDArray[np.uint8]]:
    panel, shape = None, (0, 0, 0)
    for frame in frames:
        if panel is None:
            shape = frame.shape
            text_px = max(shape[0] // TEXT_PART, LEAST_TEXT_PX)
            panel = draw_text(lines[: max(shape[0] // (2 * text_px), 1)], shape[1], text_px=text_px)[-shape[0] :]
        if frame.shape != shape:  # a stream that changes its size within: the first size stands
            break
        picture = frame.copy()
        bottom = picture[-len(panel) :]
        bottom[:] = np.maximum(bottom * SHADE, panel).astype(np.uint8)
        yield picture
