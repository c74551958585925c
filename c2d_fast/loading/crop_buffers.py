"""What is kept of a clip's frames: of each only what the crops need, written once to its index when it is decoded.

All frames of a large video's views together would be gigabytes, and each copy of a clip costs a tenth of its decoding.
"""

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


class ClipsBuffer:
    """The crops of several clips that are made of one decode, each of frames of its own."""

    def __init__(self, sample: Sample, size: int, *, short_side: int, scales_first: bool):
        """Makes room for them.

        Args:
            sample: with its clips.
            size: of a crop, in pixels.
            short_side: as CropBuffer's.
            scales_first: whether frames are scaled first, to what each clip says.
        """
        shape = (len(sample.clips), len(sample.clips[0].frames), size, size, 3)
        self.images = np.empty(shape, np.uint8)
        """uint8 [clips, T, size, size, 3], if frames were decoded in their order."""
        self._sample, self._short_side, self._scales_first = sample, short_side, scales_first
        self._uses: list[list[tuple[int, int]]] = [[] for _ in sample.frames]  # of each frame: clip, and place in it
        for clip, numbers in enumerate(sample.order.tolist()):
            for place, number in enumerate(numbers):
                self._uses[number].append((clip, place))
        self._count = 0

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """Takes a frame, uint8 [H, W, 3]; returns its index."""
        index = self._count % len(self._uses)  # of a decode that is begun again the last frames count
        self._count += 1
        scaled: dict[tuple[int, int], NDArray[np.uint8]] = {}
        for number, place in self._uses[index]:
            clip, frame = self._sample.clips[number], image
            if self._scales_first:
                if clip.scaled not in scaled:
                    (scaled[clip.scaled],) = scale_frames([image], clip.scaled)
                frame = scaled[clip.scaled]
            is_scaled, size = self._scales_first or min(frame.shape[:2]) == self._short_side, self.images.shape[2]
            out = self.images[number, place : place + 1]
            cut_crop([frame], clip.boxes[0], size, flip=clip.flip, is_scaled=is_scaled, out=out)
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
