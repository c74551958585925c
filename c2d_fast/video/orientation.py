"""How a container turns its pictures before they are shown: quarter turns and mirrors of its display matrix. Numpy only."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIRRORED, UPSIDE_DOWN, TRANSPOSED = 1, 2, 4
"""Parts of an orientation: a sum of them, 0 for pictures that are shown as they are stored. A picture is first transposed (rows
become columns), then mirrored, then turned upside down."""
QUARTER_TURNS = frozenset({0, TRANSPOSED + MIRRORED, MIRRORED + UPSIDE_DOWN, TRANSPOSED + UPSIDE_DOWN})
"""Orientations without a mirror: 0, 90, 180 and 270 degrees clockwise."""
_MATRIX_BYTES = 36


def orientation_of(matrix: bytes | None) -> int:
    """Returns the orientation that a display matrix asks for; of one that turns by less than a quarter, none.

    Args:
        matrix: nine numbers a b u, c d v, x y w as FFmpeg has them (ISO 14496-12, 6.2.2): a point (x, y) of the stored picture
            is shown at (a x + c y, b x + d y).
    """
    if matrix is None or len(matrix) < _MATRIX_BYTES:
        return 0
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix[:_MATRIX_BYTES])
    if a and d and not (b or c):
        return int(MIRRORED * (a < 0) + UPSIDE_DOWN * (d < 0))
    if b and c and not (a or d):
        return int(TRANSPOSED + MIRRORED * (c < 0) + UPSIDE_DOWN * (b < 0))
    return 0


def apply_orientation(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Returns a picture as it is shown: [H, W, ...] of the stored one; rows in one piece, as OpenCV needs them."""
    if not orientation:
        return image
    if orientation & TRANSPOSED:
        image = image.swapaxes(0, 1)
    if orientation & MIRRORED:
        image = image[:, ::-1]
    if orientation & UPSIDE_DOWN:
        image = image[::-1]
    return np.ascontiguousarray(image)
