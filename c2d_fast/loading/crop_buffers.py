"""What is kept of a clip's frames: of each only what the crops need, written once to its index when it is decoded.

All frames of a large video's views together would be gigabytes, and each copy of a clip costs a tenth of its decoding.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.loading.plan import Sample
from c2d_fast.loading.sampler import scaled_size
from c2d_fast.video.crops import SCALED_ABOVE, can_scale, cut_crop, region_of, scale_frames


class CropBuffer:
    """Crops, cut out and resized."""

    def __init__(
        self, frames: int, boxes: NDArray[np.float32], size: int, *, flip: bool, short_side: int, scaled: tuple[int, int] | None
    ):
        """Makes room for them.

        Args:
            frames: how many different ones are wanted.
            boxes: of the crops, x0, y0, x1, y1 as parts of the frame, float32 [crops, 4].
            size: of a crop, in pixels.
            flip: whether they are mirrored.
            short_side: of frames that boxes are defined on.
            scaled: width and height that frames are scaled to first; None: they are not.
        """
        self.images = np.empty((len(boxes), frames, size, size, 3), np.uint8)
        """uint8 [crops, frames, size, size, 3], in the order in which frames were decoded."""
        self._boxes, self._flip, self._short_side, self._scaled = boxes, flip, short_side, scaled
        self._count = 0

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """Takes a frame, uint8 [H, W, 3]; returns its index."""
        index = self._count % self.images.shape[1]  # of a decode that is begun again the last frames count
        self._count += 1
        if self._scaled:
            (image,) = scale_frames([image], self._scaled)
        is_scaled, size = bool(self._scaled) or min(image.shape[:2]) == self._short_side, self.images.shape[2]
        for box, crops in zip(self._boxes, self.images, strict=True):
            cut_crop([image], box, size, flip=self._flip, is_scaled=is_scaled, out=crops[index : index + 1])
        return np.array(index)


class RegionBuffer:
    """The part of each frame that crops need, for whoever cuts them out."""

    def __init__(self, frames: int, boxes: NDArray[np.float32], *, scaled_to: int):
        """Prepares to take frames.

        Args:
            frames: how many different ones are wanted.
            boxes: as in CropBuffer.
            scaled_to: short side that frames are scaled to first, where they are very large together; 0: they are not.
        """
        self.images = np.empty((frames, 0, 0, 3), np.uint8)
        """uint8 [frames, h, w, 3], in the order in which frames were decoded."""
        self.boxes = boxes
        """As parts of that."""
        self._whole, self._scaled_to, self._count = boxes, scaled_to, 0

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """Takes a frame, uint8 [H, W, 3]; returns its index."""
        frames = len(self.images)
        index = self._count % frames
        self._count += 1
        height, width = image.shape[:2]
        if self._scaled_to < min(height, width) and self._scaled_to and frames * image.nbytes > SCALED_ABOVE and can_scale():
            (image,) = scale_frames([image], scaled_size(width, height, self._scaled_to))
        rows, columns, self.boxes = region_of((image.shape[1], image.shape[0]), self._whole)
        part = image[rows, columns]
        if self.images.shape[1:] != part.shape:
            self.images = np.empty((frames, *part.shape), np.uint8)
        self.images[index] = part
        return np.array(index)


def in_order(images: NDArray[np.uint8], indices: NDArray[np.intp], axis: int) -> NDArray[np.uint8]:
    """Returns images with those at these indices along an axis: themselves, where they stand so."""
    return images if np.array_equal(indices, np.arange(images.shape[axis])) else images.take(indices, axis)


def cut_clips(
    images: Sequence[NDArray[np.uint8]], sample: Sample, size: int, *, short_side: int, scales_first: bool
) -> NDArray[np.uint8]:
    """Cuts several clips out of the frames of one decode: uint8 [clips, T, size, size, 3].

    Args:
        images: the sample's frames in its order, uint8 [H, W, 3] each.
        sample: with its clips.
        size: as CropBuffer's.
        short_side: likewise.
        scales_first: whether frames are scaled first.
    """
    clips = []
    for clip, numbers in zip(sample.clips, sample.order, strict=True):
        scaled = clip.scaled if scales_first else None
        crops = CropBuffer(len(numbers), clip.boxes, size, flip=clip.flip, short_side=short_side, scaled=scaled)
        for number in numbers:
            crops(images[number])
        clips.append(crops.images[0])
    return np.stack(clips)
