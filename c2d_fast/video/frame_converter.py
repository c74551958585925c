"""From decoded frames to upright RGB images, and of these to what is kept of them. No torch, no DALI."""

from collections.abc import Callable
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from c2d_fast.video.orientation import apply_orientation, orientation_of

ImageTransform = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""Makes of an image, RGB uint8 [H, W, C], what is kept of it."""


class FrameConverter:
    """Converts the frames of a video, when they are decoded: no more than what is kept of them is ever held."""

    def __init__(self, orientation: int | None, transform: ImageTransform):
        """Begins with a video.

        Args:
            orientation: of the video (orientation.py); None: the first frame says it.
            transform: called with each image, whose rows may be further apart than they are long: FFmpeg's own memory.
        """
        self._orientation, self._transform = orientation, transform
        self._reformatter, self._size = VideoReformatter(), (0, 0)

    def convert(self, frame: av.VideoFrame) -> NDArray[Any]:
        """Returns what is kept of a frame, converted to the size of the first one taken."""
        if self._size == (0, 0):
            self._size = frame.width, frame.height
            self._orientation = frame_orientation(frame) if self._orientation is None else self._orientation
        width, height = self._size
        # Converted in one thread: that is quicker than waking others for a small frame.
        image = self._reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        return self._transform(apply_orientation(_pixels(image), self._orientation or 0))


def frame_orientation(frame: av.VideoFrame) -> int:
    """Returns the orientation (orientation.py) that a frame's container, or its stream, gives it."""
    parts: Any = frame.side_data  # a mapping, of which PyAV 18 gives the values where PyAV 19 gives the keys
    matrix = parts.get(SideData.DISPLAYMATRIX)
    return orientation_of(None if matrix is None else bytes(matrix))


def _pixels(frame: av.VideoFrame) -> NDArray[np.uint8]:
    plane = frame.planes[0]
    rows: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: frame.height, : 3 * frame.width].reshape(frame.height, frame.width, 3)
