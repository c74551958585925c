"""Writes pictures as an H.264 mp4, for people to look at. No torch, no DALI."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

import c2d_fast.video.reader  # noqa: F401  (sets FFmpeg's log level: see there)
from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write


def write_video(pictures: Iterable[NDArray[np.uint8]], path: Path, rate: Fraction, what: str) -> int:
    """Writes a video: whole or not at all.

    Args:
        pictures: RGB, uint8 [H, W, C], of one size; an odd last row or column is left out, which H.264 cannot hold.
        path: ends in .mp4.
        rate: pictures in a second.
        what: the flag that named it, for messages.

    Returns:
        How many there were.

    Raises:
        UserError: it cannot be written.
    """
    count, stream = 0, None
    try:
        with (
            atomic_write(path) as partial,
            av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}) as output,
        ):
            for picture in pictures:
                if stream is None:
                    stream = _stream(output, picture, rate)
                even = np.ascontiguousarray(picture[: stream.height, : stream.width])
                frame = av.VideoFrame.from_ndarray(even, format="rgb24")
                frame.pts, frame.time_base = count, 1 / rate
                output.mux(stream.encode(frame))
                count += 1
            if stream is not None:
                output.mux(stream.encode())
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{what} {path}: cannot be written ({error.strerror}); free the disk or give another file") from error
    return count


def _stream(output: av.container.OutputContainer, picture: NDArray[np.uint8], rate: Fraction) -> Any:
    stream: Any = output.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "fast"})
    stream.height, stream.width = (size // 2 * 2 for size in picture.shape[:2])
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = 1 / rate
    return stream
