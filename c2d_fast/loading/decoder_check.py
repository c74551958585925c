"""Compares DALI's decoder with FFmpeg on a clip of the list: whether it decodes at all here, and the frames asked for.

A driver or a DALI that numbers frames otherwise would train on wrong ones without a sign; and a decoder that cannot work here
would make every video look broken.
"""

from collections.abc import Iterator, Set
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from c2d_fast.loading.decode import decode_files
from c2d_fast.loading.pipelines import error_summary
from c2d_fast.loading.source import stored_of
from c2d_fast.manifest.videos import Videos
from c2d_fast.video.orientation import apply_orientation
from c2d_fast.video.packets import WHOLE
from c2d_fast.video.reader import DecodeError, decode_frames, read_clip
from c2d_fast.video.storage import read_with_retry

MEAN_TOLERANCE, BT709_TOLERANCE = 16.0, 32.0
"""Levels of 255 by which a frame may differ from FFmpeg's on average: decoders convert colours differently (real clips differ
by 1.4), and DALI takes BT.709 for BT.601."""
_BT709 = 1  # H.273
_DEVIATION, _FLAT = 32.0, 1.0
_CLEARLY = 1.0
"""By how much nearer a neighbouring frame must be for a frame to be the wrong one, once all have the same mean and deviation
(of 32 levels): colours that are converted differently then look alike, and a fade no longer looks like another frame."""
_TRIED = 3  # videos of a codec: one may be broken, or odd
_LOOKED_AT = 64  # of them the smallest are tried
_FRAMES, _REACH = 5, 40


def check_decoder(
    videos: Videos, decoder: str, device: torch.device, *, whole_files: bool = False, exclude: Set[int] = frozenset()
) -> str:
    """Decodes a clip of each codec of a list with DALI and with FFmpeg.

    Args:
        videos: the list's.
        decoder: nvdec or dali.
        device: the GPU of nvdec.
        whole_files: as in LoaderOptions.
        exclude: videos that are not to be tried.

    Returns:
        "" where the frames are the same or nothing can be compared, otherwise what is wrong.
    """
    for codec in np.unique(videos.stored_column("codec")[videos.num_frames > 0]):
        problem = ""
        for index in _candidates(videos, codec, exclude):
            try:
                is_bt709 = videos.stored["matrix"][videos.row(index)] == _BT709
                found = _compare(*_both(videos, index, decoder, device, whole_files), is_bt709)
            except DecodeError:  # the video's fault
                continue
            except RuntimeError as error:
                found = f"which FFmpeg decodes, fails: {error_summary(error)}"
            if not found:
                problem = ""
                break
            problem = problem or f"{videos.file(index)}, {found}"
        if problem:
            return problem
    return ""


def _candidates(videos: Videos, codec: bytes, exclude: Set[int]) -> Iterator[int]:
    of_codec = np.flatnonzero((videos.stored_column("codec") == codec) & (videos.num_frames > 0))
    some = [index for index in of_codec[: _LOOKED_AT + len(exclude)].tolist() if index not in exclude]
    some.sort(key=lambda index: int(videos.width[index]) * int(videos.height[index]))
    yield from some[:_TRIED]


def _both(
    videos: Videos, index: int, decoder: str, device: torch.device, whole_files: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns DALI's frames, uint8 [F, H, W, C], and FFmpeg's with the neighbours of each, uint8 [F, 3, H, W, C]."""
    path, stored, last = videos.location(index), stored_of(videos, index), int(videos.num_frames[index]) - 1
    frames = np.unique(np.linspace(min(1, last), min(last, _REACH), _FRAMES).astype(np.int64))
    around = np.clip(frames[:, None] + np.array([0, -1, 1]), 0, last)
    expected = read_with_retry(partial(decode_frames, path, around.reshape(-1), 1, stored), path)
    clears = decoder == "nvdec" and not whole_files
    read = partial(read_clip, path, frames, WHOLE if whole_files else stored, clear_cropping=clears)
    file = read_with_retry(read, path)
    device_id = (device.index or 0) if device.type == "cuda" else None
    (decoded,) = decode_files([file], decoder, threads=1, device_id=device_id)
    if clears:
        width, height = stored.size
        decoded = decoded[:, :height, :width]
    decoded = np.stack([apply_orientation(image, stored.orientation or 0) for image in decoded])
    return decoded, expected.reshape(*around.shape, *expected.shape[1:])


def _compare(decoded: NDArray[np.uint8], expected: NDArray[np.uint8], is_bt709: bool) -> str:
    """Returns what is wrong with frames, "" if nothing is."""
    if decoded.shape != expected[:, 0].shape:
        return f"has frames of {decoded.shape}, FFmpeg's are {expected[:, 0].shape} (frames, height, width, colours)"
    levels = float(np.abs(decoded.astype(np.int16) - expected[:, 0]).mean((1, 2, 3)).max())
    tolerance = BT709_TOLERANCE if is_bt709 else MEAN_TOLERANCE
    if levels > tolerance:
        return f"of which a frame differs from FFmpeg's by {levels:.1f} levels on average, more than {tolerance:g}"
    difference = np.abs(_alike(decoded)[:, None] - _alike(expected)).mean((2, 3, 4))
    if (difference[:, 0] - difference[:, 1:].min(1)).max() > _CLEARLY:
        return "frames of which are numbered otherwise than by FFmpeg"
    return ""


def _alike(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Gives each colour of each image the mean 0 and the same deviation; flat ones become zeros. [..., H, W, C]."""
    centred = images.astype(np.float32)
    centred -= centred.mean((-3, -2), keepdims=True)
    deviation = centred.std((-3, -2), keepdims=True)
    scaled: NDArray[np.float32] = centred * np.where(deviation > _FLAT, _DEVIATION / np.maximum(deviation, _FLAT), 0)
    return scaled
