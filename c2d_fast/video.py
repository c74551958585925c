"""Reads video files with FFmpeg (through PyAV): what a file holds, and exactly the frames asked for.

Frame k is the k-th frame that the decoder puts out, whatever its timestamp says. Loader workers import this module:
no torch, no DALI.
"""

import stat
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

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

# Codecs of which every packet holds exactly one shown frame, so that counting packets counts frames. The others have
# packets that show nothing (VP8 and AV1 alternate references, MPEG-4's packed B-frames): their frames are counted by
# decoding.
_ONE_FRAME_A_PACKET = frozenset({"h264", "hevc", "mjpeg"})
_PLAYLISTS = frozenset({"concat", "dash", "hls", "imf"})
_BT709 = 1  # FFmpeg's AVCOL_SPC_BT709


class DecodeError(Exception):
    """A video file that cannot be read, or not as far as its manifest says. The message does not name the file."""


@dataclass(frozen=True)
class VideoInfo:
    """What decoding needs to know of a file."""

    num_frames: int
    """Frames that a full decode puts out, not what a header claims."""
    width: int
    height: int
    codec: str
    """FFmpeg's name of it: h264, hevc, mpeg4, vp9 ..."""
    pix_fmt: str
    """FFmpeg's name of the decoded pixel format: yuv420p ..."""
    dali_agrees: bool
    """Whether DALI, which takes packets in the order of their timestamps for the frames, numbers them as FFmpeg does."""
    bt709: bool
    """Tagged BT.709, which FFmpeg follows; DALI converts everything as BT.601."""


class _Packet(NamedTuple):
    pts: int | None
    dts: int | None
    is_keyframe: bool
    is_hidden: bool
    """Marked as not to be shown, or as damaged."""


def read_info(path: Path) -> VideoInfo:
    """Reads through a video file and decodes its first frame (all frames where packets do not tell how many there are).

    Raises:
        DecodeError: it is no regular file, or no video, or its first frame does not decode.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DecodeError("is not a regular file")  # a FIFO would block for ever
        return _read_info(path)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError(_reason(error)) from error


def decode_frames(path: Path, frames: NDArray[np.int64], threads: int = 1) -> NDArray[np.uint8]:
    """Decodes the frames with these numbers.

    Args:
        path: the video file.
        frames: frame numbers, int64 [F], in any order, repeats allowed.
        threads: decoder threads; 0 lets FFmpeg choose.

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
        with _open(path) as container:
            stream = _video_stream(container)
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = threads
            count = 0
            for number, frame in enumerate(container.decode(stream)):
                count = number + 1
                if number == wanted[len(taken)]:
                    height, width = taken[0].shape[:2] if taken else (frame.height, frame.width)
                    rgb = reformatter.reformat(frame, width=width, height=height, format="rgb24")
                    taken.append(rgb.to_ndarray())
                    if len(taken) == len(wanted):
                        break
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError(_reason(error)) from error
    if len(taken) < len(wanted):
        raise DecodeError(f"ends after {count} frames, before frame {wanted[-1]}")
    return np.stack([taken[place] for place in places])


def read_bytes(path: Path) -> NDArray[np.uint8]:
    """Reads a file whole: uint8 [bytes].

    Raises:
        DecodeError: it cannot be read.
    """
    try:
        return np.fromfile(path, np.uint8)
    except OSError as error:
        raise DecodeError(_reason(error)) from error


def _read_info(path: Path) -> VideoInfo:
    first: av.VideoFrame | None = None
    packets: list[_Packet] = []
    with _open(path) as container:
        stream = _video_stream(container)
        stream.codec_context.thread_count = 1
        codec = stream.codec_context.codec.canonical_name  # that of the format (av1), not of the decoder (libdav1d)
        promised = stream.frames
        for packet in container.demux(stream):
            if packet.size:
                packets.append(_Packet(packet.pts, packet.dts, packet.is_keyframe, packet.is_discard or packet.is_corrupt))
            if first is None:
                first = next(iter(packet.decode()), None)
    if first is None:
        raise DecodeError("has no frame that decodes")
    countable = codec in _ONE_FRAME_A_PACKET and not first.interlaced_frame and promised in (0, len(packets))
    if countable and _shows_every_packet(packets):
        num_frames, in_order = len(packets), True
    else:
        num_frames, in_order = _count_frames(path)
    times = [packet.dts if packet.pts is None else packet.pts for packet in packets]
    # DALI drops packets before time 0 and cannot tell equal times apart.
    known = {time for time in times if time is not None and time >= 0}
    agrees = in_order and num_frames == len(packets) == len(known)
    return VideoInfo(num_frames, first.width, first.height, codec, first.format.name, agrees, first.colorspace == _BT709)


def _shows_every_packet(packets: list[_Packet]) -> bool:
    """Whether a decoder shows a frame for every packet, so far as the packets tell."""
    start = packets[0]
    if not start.is_keyframe or any(packet.is_hidden for packet in packets):
        return False
    # Frames shown before the first key frame need one that is not there.
    return all(packet.pts is None or start.pts is None or packet.pts >= start.pts for packet in packets)


def _count_frames(path: Path) -> tuple[int, bool]:
    """Decodes everything; returns the number of frames, and whether they come in the order of their timestamps."""
    with _open(path) as container:
        times = [frame.pts for frame in container.decode(_video_stream(container))]
    known = [time for time in times if time is not None]
    return len(times), all(a < b for a, b in pairwise(known))


def _open(path: Path) -> av.container.InputContainer:
    # As a file and nothing else: FFmpeg would take "12:30.mp4" for a protocol, and follow a playlist to other files.
    container = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
    if container.format.name in _PLAYLISTS:
        container.close()
        raise DecodeError(f"is a playlist ({container.format.name}), not a video")
    return container


def _video_stream(container: av.container.InputContainer) -> av.VideoStream:
    for stream in container.streams.video:
        # Cover art of an audio file is a video stream too, of one picture.
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise DecodeError("has no video stream")


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return f"does not decode ({text})" if isinstance(error, av.FFmpegError) else text
