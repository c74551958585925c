"""Cuts crops out of decoded frames on a CPU, in the loader's workers: scale, region, resize and flip. No torch, no DALI."""

from collections.abc import Sequence
from functools import cache, partial
from importlib.util import find_spec
from typing import cast

import numpy as np
from numpy.typing import NDArray

from c2d_fast.versions import OPENCV_PACKAGES, version_of

_WHOLE_PIXEL = 1e-3
SCALED_ABOVE = 64 * 2**20
"""Bytes of a video's decoded frames; of more, each is scaled when it is decoded where the crops are cut out elsewhere."""


@cache
def why_no_opencv() -> str:
    """Returns why crops cannot be cut here, "" where they can.

    Before version 5 warpAffine rounds positions to 1/32 of a pixel, and crops would not be the published ones.
    """
    # Not imported to ask it: only the workers need it.
    version = next(filter(None, map(version_of, OPENCV_PACKAGES)), None)
    if version is None or find_spec("cv2") is None:
        return "OpenCV is not installed"
    return "" if int(version.partition(".")[0]) >= 5 else f"OpenCV is {version}, which places pixels more coarsely than 5 does"


@cache
def can_scale() -> bool:
    """Says whether there is an OpenCV, of any version: its resize is the same in all."""
    return find_spec("cv2") is not None


def scale_frames(images: Sequence[NDArray[np.uint8]], size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Scales whole frames, as the published pipeline does before it cuts a training crop: rounded to uint8, not antialiased.

    Args:
        images: as in cut_crop.
        size: width and height, in pixels.

    Returns:
        uint8 [height, width, C] each; a frame itself where it has that size.
    """
    import cv2  # as in cut_crop

    cv2.setNumThreads(0)
    # Whole, although a crop needs but a part: of a part OpenCV makes other bits.
    resize = partial(cv2.resize, dsize=size, interpolation=cv2.INTER_LINEAR)
    return [image if image.shape[1::-1] == size else cast(NDArray[np.uint8], resize(image)) for image in images]


def cut_crop(
    images: Sequence[NDArray[np.uint8]],
    box: NDArray[np.float32],
    size: int,
    *,
    flip: bool,
    is_scaled: bool,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Cuts the same region out of every frame and resizes it: bilinear, half-pixel centres, no antialiasing.

    Args:
        images: RGB frames of one size, each uint8 [H, W, C]; rows may be further apart than they are long.
        box: x0, y0, x1, y1 as parts of the frame, 0..1, float32 [4].
        size: side of the result, in pixels.
        flip: mirror it.
        is_scaled: whether the frame has the recipe's short side, as it is or by scale_frames. The published pipeline then
            cuts the region out before it resizes it, and so does this, with the same function: a region of whole pixels comes
            out as there to the bit. Otherwise region and resize are one step, at the very points that scaling the frame and
            then cutting the region out would take, of the frame as it is.
        out: where the result is to be written.

    Returns:
        uint8 [F, size, size, C].
    """
    import cv2  # a machine with a GPU may lack it: there the graph cuts out the crops

    cv2.setNumThreads(0)  # there is a worker process for each CPU already
    height, width = images[0].shape[:2]
    x0, y0, x1, y1 = (box.astype(np.float64) * (width, height, width, height)).tolist()
    crops = np.empty((len(images), size, size, 3), np.uint8) if out is None else out
    if all(abs(edge - round(edge)) < _WHOLE_PIXEL for edge in (x0, y0, x1, y1)):
        rows, columns = slice(round(y0), round(y1)), slice(round(x0), round(x1))
        if (round(y1) - round(y0), round(x1) - round(x0)) == (size, size):
            for image, crop in zip(images, crops, strict=True):
                crop[:] = image[rows, columns][:, :: -1 if flip else 1]
            return crops
        if is_scaled:
            for image, crop in zip(images, crops, strict=True):
                cv2.resize(image[rows, columns], (size, size), dst=crop, interpolation=cv2.INTER_LINEAR)
                if flip:
                    cv2.flip(crop, 1, dst=crop)
            return crops
    step_x, step_y = (x1 - x0) / size, (y1 - y0) / size
    first_x = x1 - step_x / 2 - 0.5 if flip else x0 + step_x / 2 - 0.5
    from_crop = np.array([[-step_x if flip else step_x, 0, first_x], [0, step_y, y0 + step_y / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for image, crop in zip(images, crops, strict=True):
        cv2.warpAffine(image, from_crop, (size, size), dst=crop, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return crops


def cut_region(
    images: Sequence[NDArray[np.uint8]], boxes: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Cuts out of every frame what resizing some regions can read, for whoever resizes them.

    Args:
        images: as in cut_crop.
        boxes: x0, y0, x1, y1 as parts of the frame, 0..1, float32 [crops, 4].

    Returns:
        uint8 [F, h, w, C], and the boxes as parts of that.
    """
    rows, columns, parts = region_of((images[0].shape[1], images[0].shape[0]), boxes)
    return np.stack([image[rows, columns] for image in images]), parts


def region_of(size: tuple[int, int], boxes: NDArray[np.float32]) -> tuple[slice, slice, NDArray[np.float32]]:
    """Returns the rows and columns that cut_region cuts out of frames of a width and height, and the boxes as parts of them."""
    edges = boxes.reshape(-1, 2, 2).astype(np.float64) * size  # [crops, corner, (x, y)]
    # A pixel more on each side: bilinear interpolation at a region's edge reads the next one.
    low = np.maximum(np.floor(edges[:, 0].min(0) + _WHOLE_PIXEL).astype(int) - 1, 0)
    high = np.minimum(np.ceil(edges[:, 1].max(0) - _WHOLE_PIXEL).astype(int) + 1, size)
    parts = ((edges - low) / (high - low)).reshape(-1, 4).astype(np.float32)
    return slice(low[1], high[1]), slice(low[0], high[0]), parts
