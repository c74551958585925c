"""A few frames of a video beside each other, as a picture. No torch, no DALI."""

from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from c2d_fast.video.demuxed import frames_of
from c2d_fast.video.frame_converter import FrameConverter
from c2d_fast.video.reader import DecodeError, open_video, reason, video_stream

_GAP = 2
_MOST_DECODED = 300
"""Frames that are decoded for one that is shown: of a video without key frames an earlier one is."""
_MOST_PIXELS = 1 << 26
_PAPER = 255


def video_strip(path: Path, *, frames: int = 4, frame_px: int = 112) -> NDArray[np.uint8]:
    """Draws frames that are evenly apart, from left to right, upright.

    Args:
        path: of the video.
        frames: at most; of a file that does not say how long it is there is one.
        frame_px: shorter side of a frame in the picture.

    Returns:
        RGB, uint8 [H, W, C].

    Raises:
        DecodeError: it cannot be read; the message ends a sentence that begins with the file.
    """
    converter = FrameConverter(None, lambda image: _small(image, frame_px))
    try:
        with open_video(path) as container:
            stream = video_stream(container)
            if stream.width * stream.height > _MOST_PIXELS:
                raise DecodeError(f"has frames of {stream.width} x {stream.height}, too large to be shown here")
            stream.thread_type = "AUTO"
            shown = [converter.convert(frame) for frame in _spread(container, stream, frames)]
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise DecodeError(reason(error) or type(error).__name__) from error
    if not shown:
        raise DecodeError("has no frame that decodes")
    gap = np.full((len(shown[0]), _GAP, 3), _PAPER, np.uint8)
    return np.concatenate([part for frame in shown for part in (frame, gap)][:-1], 1)


def _spread(container: av.container.InputContainer, stream: av.VideoStream, count: int) -> list[av.VideoFrame]:
    """Returns the frames in the middle of equal parts of the video."""
    base: Any = stream.time_base
    start_s = float((stream.start_time or 0) * base)
    duration_s = float(stream.duration * base) if stream.duration else (container.duration or 0) / av.time_base
    if duration_s <= 0:
        return [frame for frame, _ in zip(frames_of(container, stream), range(1), strict=False)]
    found = []
    for part in range(count):
        at_s = start_s + (part + 0.5) / count * duration_s
        container.seek(int(at_s / base), stream=stream)
        last = None
        for number, frame in enumerate(frames_of(container, stream)):
            last = frame
            if number + 1 >= _MOST_DECODED or (frame.time is not None and frame.time >= at_s):
                break
        if last is not None:
            found.append(last)
    return found


def _small(image: NDArray[np.uint8], frame_px: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    # A picture that is many times as wide as high would be as large as the page.
    scale = min(frame_px / min(height, width), 4 * frame_px / max(height, width))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BILINEAR))
