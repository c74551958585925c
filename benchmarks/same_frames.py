"""Whether a peer gives the frames that it was asked for: a row that reads others is no comparison, and says so."""

from typing import Any

import numpy as np
from libraries import images_from_the_beginning
from peers import cut

CHECKED_CLIPS = 8
LIMIT = 12.0
"""Levels of 255 by which a frame may differ on average: a GPU converts colours, and resizes, in its own way. Decoders on a CPU
give the same pixels."""


class Reference:
    """The clips as PyAV gives them when it decodes files from the beginning, which needs no seeking."""

    def __init__(self, clips: list[dict[str, Any]], side: int):
        """Decodes each wanted frame, and those beside it.

        Args:
            clips: as measure.clips_for_peers gives them.
            side: of the crops.
        """
        self._frames = [frame for clip in clips for frame in _frames(clip, side)]

    def compare(self, images: Any) -> dict[str, int]:
        """Returns how many frames were compared, and how many are not those that were asked for.

        Args:
            images: the clips as a peer gives them, uint8 [clips, T, side, side, C].
        """
        shown = images.reshape(-1, *images.shape[2:])
        differ = [not _is_same(image, *frame) for image, frame in zip(shown, self._frames, strict=True)]
        return {"frames_checked": len(differ), "frames_differ": sum(differ)}


def _frames(clip: dict[str, Any], side: int) -> list[tuple[Any, list[Any]]]:
    """Returns for each of a clip's frames the crop, and those of the frames beside it."""
    wanted = {number + beside for number in clip["frames"] for beside in (-1, 0, 1)} - {-1}
    images = images_from_the_beginning(clip["file"], wanted)
    crops = {number: cut([image], clip, side)[0] for number, image in images.items()}
    return [(crops[n], [crops[beside] for beside in (n - 1, n + 1) if beside in crops]) for n in clip["frames"]]


def _is_same(image: Any, asked: Any, beside: list[Any]) -> bool:
    difference = _difference(image, asked)
    return difference < LIMIT and all(difference <= _difference(image, other) for other in beside)


def _difference(one: Any, other: Any) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())
