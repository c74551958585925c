"""Reads video files with FFmpeg (through PyAV): exactly the frames asked for.

Frame k is the k-th frame that the decoder puts out, whatever its timestamp says. Loader workers import this module:
no torch, no DALI.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.container
import av.logging
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

# What is wrong with a file reaches the user as an exception. A log level, any, would make FFmpeg's threads wait for
# Python's lock inside PyAV's callback, while the thread that holds the lock waits for them: seen to hang for ever when a
# decoder with several threads is closed.
av.logging.set_level(None)

_PLAYLISTS = frozenset({"concat", "dash", "hls", "imf"})


class DecodeError(Exception):
    """A video file that cannot be read, or not as far as its manifest says. The message does not name the file."""


def decode_frames(path: Path, frames: NDArray[np.int64], threads: int = 1, *, closed_gops: bool = False) -> NDArray[np.uint8]:
    """Decodes the frames with these numbers.

    Args:
        path: the video file.
        frames: frame numbers, int64 [F], in any order, repeats allowed.
        threads: decoder threads; 0 lets FFmpeg choose.
        closed_gops: facts.Facts.closed_gops of this file: groups of pictures without a wanted frame are left out.

    Returns:
        RGB, uint8 [F, H, W, C], converted by swscale's defaults as the stream is tagged (BT.601 limited range where it
        is not); H and W are those of the first frame taken.

    Raises:
        DecodeError: the file does not open, does not decode, or ends before the last frame asked for.
    """
    wanted, places = np.unique(frames, return_inverse=True)
    taken: list[NDArray[Any]] = []
    reformatter = VideoReformatter()
    try:
        with open_video(path) as container:
            stream = video_stream(container)
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = threads
            decoded = _by_groups(container, stream, wanted) if closed_gops else enumerate(container.decode(stream))
            count = 0
            for number, frame in decoded:
                count = number + 1
                if number == wanted[len(taken)]:
                    height, width = taken[0].shape[:2] if taken else (frame.height, frame.width)
                    rgb = reformatter.reformat(frame, width=width, height=height, format="rgb24")
                    taken.append(rgb.to_ndarray())
                    if len(taken) == len(wanted):
                        break
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError(reason(error)) from error
    if len(taken) < len(wanted):
        raise DecodeError(f"ends after {count} frames, before frame {wanted[-1]}")
    return np.stack([taken[place] for place in places])


def _by_groups(
    container: av.container.InputContainer, stream: av.VideoStream, wanted: NDArray[np.int64]
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decodes the groups of pictures that hold wanted frames; yields (number, frame) in the order they are shown."""
    group: list[Any] = []
    start = 0
    for packet in container.demux(stream):
        if group and (packet.is_keyframe or not packet.size):
            yield from _decode_group(stream, group, start, wanted)
            start += len(group)
            group = []
            if start > wanted[-1]:
                return
        if packet.size:
            group.append(packet)


def _decode_group(
    stream: av.VideoStream, group: list[Any], start: int, wanted: NDArray[np.int64]
) -> Iterator[tuple[int, av.VideoFrame]]:
    times = np.array([packet.dts if packet.pts is None else packet.pts for packet in group], np.int64)
    count = packets_to_decode(times, start, wanted)
    if count:
        number_of = {time: start + place for place, time in enumerate(np.sort(times).tolist())}
        context = stream.codec_context
        for packet in [*group[:count], None]:
            for frame in context.decode(packet):
                if frame.pts not in number_of:
                    raise DecodeError("has frames at other times than its packets")
                yield number_of[frame.pts], frame
        context.flush_buffers()


def packets_to_decode(times: NDArray[np.int64], start: int, wanted: NDArray[np.int64]) -> int:
    """Returns how many packets of a closed group of pictures have to be decoded.

    Args:
        times: at which the packets are shown, int64 [packets], in decoding order.
        start: number of the group's first frame.
        wanted: frame numbers, sorted.
    """
    here = wanted[(wanted >= start) & (wanted < start + len(times))]  # a closed group is shown where it is stored
    if not len(here):
        return 0
    # A frame is decoded after all that it depends on.
    numbers = start + np.argsort(np.argsort(times))
    return int(np.flatnonzero(numbers <= here[-1])[-1]) + 1


def read_bytes(path: Path) -> NDArray[np.uint8]:
    """Reads a file whole: uint8 [bytes].

    Raises:
        DecodeError: it cannot be read.
    """
    try:
        return np.fromfile(path, np.uint8)
    except OSError as error:
        raise DecodeError(reason(error)) from error


def open_video(path: Path) -> av.container.InputContainer:
    """Opens a file as a video and nothing else.

    Raises:
        DecodeError: it is a playlist or a picture.
        av.FFmpegError, OSError: it does not open.
    """
    # As a file and nothing else: FFmpeg would take "12:30.mp4" for a protocol, and follow a playlist to other files.
    container = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
    name = container.format.name
    if name in _PLAYLISTS or name.endswith("_pipe") or name == "image2":
        container.close()
        raise DecodeError(f"is a {'playlist' if name in _PLAYLISTS else 'picture'} ({name}), not a video")
    return container


def video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """Returns the stream that is the video.

    Raises:
        DecodeError: there is none.
    """
    for stream in container.streams.video:
        # Cover art of an audio file is a video stream too, of one picture.
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise DecodeError("has no video stream")


def reason(error: Exception) -> str:
    """Returns what an exception says, as the end of a sentence that begins with the file."""
    text = getattr(error, "strerror", None) or str(error)
    return f"does not decode ({text})" if isinstance(error, av.FFmpegError) else text
