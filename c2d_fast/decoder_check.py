"""Compares DALI's decoder with FFmpeg on a clip of the list: whether it decodes at all here, and the frames asked for.

A driver or a DALI that numbers frames otherwise would train on wrong ones without a sign; and a decoder that cannot work here
would make every video look broken.
"""

from collections.abc import Iterator, Set
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from c2d_fast.decode import decode_files
from c2d_fast.pipelines import last_line
from c2d_fast.plan import Videos
from c2d_fast.source import stored_of
from c2d_fast.video import DecodeError, decode_frames, read_clip

MEAN_TOLERANCE = 16.0
"""Levels of 255 by which a frame may differ from FFmpeg's on average: decoders convert colours differently, and DALI takes
BT.709 for BT.601 (real clips differ by 1.4)."""
_CLEARLY = 0.25  # levels by which a neighbouring frame must be nearer for a frame to be the wrong one
_TRIED = 3  # videos of a codec: one may be broken
_LOOKED_AT = 64  # of them the smallest are tried
_FRAMES, _REACH = 5, 40


def check_decoder(
    videos: Videos, decoder: str, device: torch.device, *, clear_cropping: bool, but: Set[int] = frozenset()
) -> str:
    """Decodes a clip of each codec of a list with DALI and with FFmpeg.

    Args:
        videos: the list's.
        decoder: nvdec or dali.
        device: the GPU of nvdec.
        clear_cropping: as in LoaderOptions.
        but: videos that are not to be tried.

    Returns:
        "" where the frames are the same or nothing can be compared, otherwise what is wrong.
    """
    for codec in np.unique(videos.stored["codec"][videos.num_frames > 0]):
        problem = ""
        for index in _candidates(videos, codec, but):
            try:
                clips = _both(videos, index, decoder, device, clear_cropping)
            except DecodeError:  # the video's fault
                continue
            except RuntimeError as error:
                problem = f"{videos.file(index)}, which FFmpeg decodes, fails: {last_line(error)}"
                continue
            if problem := _compare(*clips):
                return f"{videos.file(index)}: {problem}"
            break
        if problem:
            return problem
    return ""


def _candidates(videos: Videos, codec: bytes, but: Set[int]) -> Iterator[int]:
    of_codec = np.flatnonzero((videos.stored["codec"] == codec) & (videos.num_frames > 0))
    some = [index for index in of_codec[: _LOOKED_AT + len(but)].tolist() if index not in but]
    some.sort(key=lambda index: int(videos.width[index] * videos.height[index]))
    yield from some[:_TRIED]


def _both(
    videos: Videos, index: int, decoder: str, device: torch.device, clear_cropping: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns DALI's frames, uint8 [F, H, W, C], and FFmpeg's with the neighbours of each, uint8 [F, 3, H, W, C]."""
    path, stored, last = Path(videos.file(index)), stored_of(videos, index), int(videos.num_frames[index]) - 1
    frames = np.unique(np.linspace(min(1, last), min(last, _REACH), _FRAMES).astype(np.int64))
    around = np.clip(frames[:, None] + np.array([0, -1, 1]), 0, last)
    expected = decode_frames(path, around.reshape(-1), 1, stored)
    clears = clear_cropping and decoder == "nvdec"
    file = read_clip(path, frames, stored, clear_cropping=clears)
    (decoded,) = decode_files([file], decoder, threads=1, device_id=(device.index or 0) if device.type == "cuda" else None)
    if clears:
        decoded = decoded[:, : videos.height[index], : videos.width[index]]
    return decoded, expected.reshape(*around.shape, *expected.shape[1:])


def _compare(decoded: NDArray[np.uint8], expected: NDArray[np.uint8]) -> str:
    """Returns what is wrong with frames, "" if nothing is."""
    if decoded.shape != expected[:, 0].shape:
        return f"its frames are {decoded.shape}, FFmpeg's {expected[:, 0].shape} (frames, height, width, colours)"
    difference = np.abs(decoded[:, None].astype(np.int16) - expected).mean((2, 3, 4))
    own, neighbours = difference[:, 0], difference[:, 1:].min(1)
    if own.max() > MEAN_TOLERANCE:
        return f"a frame differs from FFmpeg's by {own.max():.1f} levels on average, more than {MEAN_TOLERANCE:g}"
    if (own - neighbours).max() > _CLEARLY:
        return "frames are numbered otherwise than by FFmpeg"
    return ""
