"""Perceptual hashes of a few frames of a video: what stays alike when it is encoded anew, scaled, or given another rate.

Two encodings have different key frames, so that frames at the same share of the duration are compared. The hash is ImageHash's
`phash`: of a frame, scaled to 32x32 grey pixels, which of the 64 lowest frequencies are above their median.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.prepare.checked_lists import CheckedVideo
from c2d_fast.prepare.packet_hash import Hashed, hashed_or_why_not
from c2d_fast.versions import failed_imports
from c2d_fast.video.demuxed import packets_of
from c2d_fast.video.file_states import local_file
from c2d_fast.video.frame_converter import FrameConverter
from c2d_fast.video.packets import Stored
from c2d_fast.video.reader import DecodeError, decode_images, open_video, video_stream

NUM_FRAMES = 5
"""Of each video, at the middles of so many equal parts of it."""
LEAST_CONTRAST = 3.0
"""Standard deviation of a frame's grey values, of 255, from which on it is compared: black, fades and blank slates are not."""
FORMAT = f"c2d_fast.hashes/1: blake2b of packets; phash 8x8 of {NUM_FRAMES} frames with contrast {LEAST_CONTRAST:g}"
_PACKAGES = ("imagehash", "scipy.fftpack")
_LONGEST_GROUP = 1000  # frames that are decoded at once, without a sign that there is progress
_GREY_PX = 32


def check_packages(what: str) -> None:
    """Says early that a package is missing: copies packet by packet are found without.

    Raises:
        UserError: one does not import.
    """
    if reasons := failed_imports(_PACKAGES):
        raise UserError(
            f"{what}: near copies need packages that do not import: {reasons}; pip install 'c2d-fast[check]', or give --no-near"
        )


def frame_numbers(num_frames: int, count: int = NUM_FRAMES) -> NDArray[np.int64]:
    """Returns the frames at the middles of equal parts of a video: int64 [count]."""
    return np.minimum((2 * np.arange(count) + 1) * num_frames // (2 * count), num_frames - 1)


def hash_frames(video: CheckedVideo, tick: Callable[[], object]) -> Hashed:
    """Hashes a video's frames; runs in a child process."""

    def make() -> tuple[str, ...]:
        numbers = frame_numbers(video.num_frames)
        wanted, indices = np.unique(numbers, return_inverse=True)
        hashes = read_images(video, wanted, tick, hash_image)
        return tuple(hashes[index] for index in indices)

    return hashed_or_why_not(video, make)


def hash_image(image: NDArray[np.uint8]) -> str:
    """Returns the hash of an image, RGB [H, W, C]: 64 bits as hexadecimal digits; "" of one without contrast."""
    import imagehash
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image)).convert("L")
    if float(np.std(np.asarray(picture.resize((_GREY_PX, _GREY_PX), Image.Resampling.BOX)))) < LEAST_CONTRAST:
        return ""
    return str(imagehash.phash(picture))


def read_images(
    video: CheckedVideo, wanted: NDArray[np.int64], tick: Callable[[], object], transform: Callable[[NDArray[np.uint8]], Any]
) -> list[Any]:
    """Decodes frames of a video and returns what is kept of each.

    Args:
        video: the video.
        wanted: frame numbers, sorted and different, int64 [F].
        tick: called again and again.
        transform: makes what is kept of an image, RGB uint8 [H, W, C].

    Raises:
        DecodeError: the file does not decode so far.
        TableError: what the packet table says of it is damaged.
    """
    tick()
    stored = video.with_rows()
    if stored.entries and video.num_frames <= _LONGEST_GROUP * stored.entries:
        return decode_images(video.path, wanted, 1, stored, lambda image: (tick(), transform(image))[1])
    return _read_through(video, wanted, tick, FrameConverter(stored.orientation, transform), stored)


def _read_through(
    video: CheckedVideo, wanted: NDArray[np.int64], tick: Callable[[], object], converter: FrameConverter, stored: Stored
) -> list[Any]:
    """Decodes a long file from its beginning, and says after each packet that there is progress."""
    taken: list[Any] = []
    with local_file(video.path, tick) as path, open_video(path) as container:
        stream, count = video_stream(container), 0
        stream.codec_context.thread_count = 1
        for packet in packets_of(container, stream):
            tick()
            for frame in packet.decode():
                if count == wanted[len(taken)]:
                    taken.append(converter.convert(frame))
                    if len(taken) == len(wanted):
                        return taken
                count += 1
    raise DecodeError(f"ends after {count} frames, before frame {wanted[len(taken)]}")
