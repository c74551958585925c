"""Reads video files with FFmpeg (through PyAV): exactly the frames asked for.

Frame k is the k-th frame that the decoder puts out, whatever its timestamp says. Loader workers import this module:
no torch, no DALI.
"""

from contextlib import closing
from functools import partial
from typing import Any

import av
import av.container
import av.logging
import numpy as np
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from c2d_fast.processes import worker_counts
from c2d_fast.remote import transfers
from c2d_fast.remote.remote_file import RemoteFile
from c2d_fast.remote.remote_path import Location, RemotePath
from c2d_fast.video.containers import OPTIONS, why_no_file, why_no_video
from c2d_fast.video.demuxed import packets_of
from c2d_fast.video.frame_converter import FrameConverter, ImageTransform
from c2d_fast.video.frame_converter import frame_orientation as frame_orientation  # noqa: PLC0414 (for who imports it from here)
from c2d_fast.video.packets import DTYPE, WHOLE, Groups, Stored, from_container, from_table, read_rows, remux, table_rows
from c2d_fast.video.small_file import small_file

# What is wrong with a file reaches the user as an exception. A log level, any, would make FFmpeg's threads wait for
# Python's lock inside PyAV's callback, while the thread that holds the lock waits for them: seen to hang for ever when a
# decoder with several threads is closed.
av.logging.set_level(None)

NEVER_WHOLE = frozenset({"mpeg4"})
"""Codecs whose whole files DALI numbers by other timestamps than FFmpeg: it is given the packets of a clip, or nothing."""


class DecodeError(Exception):
    """A video file that cannot be read, or not as far as its manifest says. The message does not name the file."""


def decode_frames(path: Location, frames: NDArray[np.int64], threads: int = 1, stored: Stored = WHOLE) -> NDArray[np.uint8]:
    """Decodes the frames with these numbers.

    Args:
        path: the video file.
        frames: frame numbers, int64 [F], in any order, repeats allowed.
        threads: decoder threads; 0 lets FFmpeg choose.
        stored: what is known of the file: only packets that the frames depend on are decoded, and, where there is a packet
            table, only these are read.

    Returns:
        RGB, uint8 [F, H, W, C], converted by swscale's defaults as the stream is tagged (BT.601 limited range where it
        is not); H and W are those of the first frame taken.

    Raises:
        DecodeError: the file does not open, does not decode, or ends before the last frame asked for.
    """
    wanted, indices = np.unique(frames, return_inverse=True)
    images = decode_images(path, wanted, threads, stored)
    return np.stack([images[index] for index in indices])


def decode_images(
    path: Location,
    wanted: NDArray[np.int64],
    threads: int,
    stored: Stored,
    transform: ImageTransform = lambda image: image,
) -> list[NDArray[Any]]:
    """Decodes the frames with these numbers, which are sorted and different; otherwise as decode_frames.

    Args:
        path: the video file.
        wanted: frame numbers, int64 [F].
        threads: decoder threads.
        stored: what is known of the file.
        transform: makes what is kept of an image; called once it is decoded, so that no more than that is ever held.

    Returns:
        What is kept of each. Images are RGB, uint8 [H, W, C], upright; rows perhaps further apart than they are long: FFmpeg's
        own memory, not copied unless it is turned.
    """
    make_converter = partial(FrameConverter, stored.orientation, transform)
    try:
        return _decode_packets(path, wanted, threads, stored, make_converter()) or _decode_whole(
            path, wanted, threads, make_converter()
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError(reason(error)) from error


def _decode_packets(
    path: Location, wanted: NDArray[np.int64], threads: int, stored: Stored, converter: FrameConverter
) -> list[NDArray[Any]] | None:
    """Decodes what the wanted frames depend on; None where that cannot be told, or does not give them all."""
    if not stored.entries:
        return None
    groups = from_table(path, stored, wanted)
    try:
        if groups is not None:
            return _decode_groups(_context(stored, threads), groups, wanted, converter)
        with open_video(path) as container:
            stream = video_stream(container)
            _use_threads(stream.codec_context, threads)
            groups = from_container(container, stream, stored, wanted)
            return _decode_groups(stream.codec_context, groups, wanted, converter) if groups else None
    except av.FFmpegError:
        return None  # a whole decode says what is wrong with the file


def _decode_groups(
    context: VideoCodecContext, groups: Groups, wanted: NDArray[np.int64], converter: FrameConverter
) -> list[NDArray[Any]] | None:
    found: dict[int | None, NDArray[Any]] = {}
    numbers = set(wanted.tolist())
    for group in groups:
        for packet in [*group, None]:
            frames = context.decode(packet)
            worker_counts.add(len(frames))
            found.update((frame.pts, converter.convert(frame)) for frame in frames if frame.pts in numbers)
        context.flush_buffers()
    return [found[number] for number in wanted.tolist()] if len(found) == len(wanted) else None


def _decode_whole(path: Location, wanted: NDArray[np.int64], threads: int, converter: FrameConverter) -> list[NDArray[Any]]:
    """Decodes from the beginning to the last wanted frame."""
    taken: list[NDArray[Any]] = []
    count = 0
    with open_video(path) as container:
        stream = video_stream(container)
        _use_threads(stream.codec_context, threads)
        with closing(packets_of(container, stream)) as packets:
            for frame in (frame for packet in packets for frame in packet.decode()):
                worker_counts.add(1)
                if count == wanted[len(taken)]:
                    taken.append(converter.convert(frame))
                    if len(taken) == len(wanted):
                        return taken
                count += 1
    raise DecodeError(f"ends after {count} frames, before frame {wanted[-1]}")


def _context(stored: Stored, threads: int) -> VideoCodecContext:
    """Returns a decoder set up without its container."""
    context = av.CodecContext.create(stored.codec, "r")
    assert isinstance(context, VideoCodecContext)
    context.extradata = stored.extradata or None
    # What only the container may say. Where the stream says it, too, it overrides this.
    context.colorspace, context.color_range = stored.matrix, 2 if stored.full_range else 0
    if stored.codec == "h264":  # where a stream does not say how far frames are reordered, as far as is allowed
        context.options = {"strict": "strict"}
    _use_threads(context, threads)
    return context


def _use_threads(context: VideoCodecContext, threads: int) -> None:
    context.thread_type, context.thread_count = "AUTO", threads


def read_bytes(path: Location) -> NDArray[np.uint8]:
    """Reads a file whole: uint8 [bytes].

    Raises:
        DecodeError: it cannot be read.
    """
    try:
        if isinstance(path, RemotePath):
            return np.frombuffer(transfers.read_bytes(path), np.uint8)
        return np.fromfile(path, np.uint8)
    except (OSError, ValueError) as error:
        raise DecodeError(reason(error)) from error


def read_clip(
    path: Location, frames: NDArray[np.int64], stored: Stored, *, clear_cropping: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Reads of a file what frames depend on, as a file of its own for a decoder that takes files.

    Args:
        path: the video file.
        frames: frame numbers, int64 [F], in any order, repeats allowed.
        stored: what is known of the file; where that is not enough, it is read whole.
        clear_cropping: as in small_file.

    Returns:
        uint8 [bytes], and the frames' numbers in it, int32 [F].

    Raises:
        DecodeError: it cannot be read, or its cropping cannot be cleared.
    """
    try:
        clip = None
        if stored.entries:
            clip = _from_table(path, frames, stored, clear_cropping) or _from_container(path, frames, stored, clear_cropping)
        if clip is None and clear_cropping and stored.is_cropped:
            # DALI finds NVDEC's sessions by the coded size: one made for cropped frames would serve others, wrongly.
            raise DecodeError("is cropped in a way that cannot be cleared for NVDEC; read it with --decoder ffmpeg")
        return clip or _whole(path, frames, stored.codec)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError(reason(error)) from error


def _from_table(
    path: Location, frames: NDArray[np.int64], stored: Stored, clear_cropping: bool
) -> tuple[NDArray[np.uint8], NDArray[np.int32]] | None:
    """Reads a clip without opening the file as a container; None where the packet table does not do for that."""
    groups = table_rows(stored, np.unique(frames))
    if groups is None:
        return None
    rows = groups[0] if len(groups) == 1 else np.concatenate(groups)
    packets, size = read_rows(path, rows), stored.size
    data = small_file(stored.codec, stored.extradata, size, packets, rows, clear_cropping=clear_cropping)
    return _counted(data, rows, frames) if data else None


def _from_container(
    path: Location, frames: NDArray[np.int64], stored: Stored, clear_cropping: bool
) -> tuple[NDArray[np.uint8], NDArray[np.int32]] | None:
    """Reads a clip through its container; None where it cannot be told which packets the frames depend on."""
    wanted = np.unique(frames)
    groups = from_table(path, stored, wanted)
    with open_video(path) as container:
        stream = video_stream(container)
        groups = from_container(container, stream, stored, wanted) if groups is None else groups
        if not groups:
            return None
        packets = [packet for group in groups for packet in group]
        rows, size = np.zeros(len(packets), DTYPE), stored.size
        rows["shown"] = [packet.pts for packet in packets]
        rows["key"] = [packet.is_keyframe for packet in packets]
        extradata, contents = stream.codec_context.extradata or b"", list(map(bytes, packets))
        data = small_file(stored.codec, extradata, size, contents, rows, clear_cropping=clear_cropping)
        if data:
            return _counted(data, rows, frames)
        if clear_cropping and stored.is_cropped:
            return None
        worker_counts.add(len(packets))
        return remux(groups, stream, frames)


def _counted(data: bytes, rows: NDArray[Any], frames: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    worker_counts.add(len(rows))
    return np.frombuffer(data, np.uint8), np.searchsorted(np.sort(rows["shown"]), frames).astype(np.int32)


def _whole(path: Location, frames: NDArray[np.int64], codec: str) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    if codec in NEVER_WHOLE:
        raise DecodeError(f"cannot be cut into a clip's packets, and DALI would number the frames of {codec} read whole wrong")
    worker_counts.add(int(frames.max()) + 1)  # a decoder goes through all to the last one
    return read_bytes(path), frames.astype(np.int32)


def open_video(path: Location) -> av.container.InputContainer:
    """Opens a file as a video and nothing else; FFmpeg follows nothing that stands in it to other files.

    Raises:
        DecodeError: it is no regular file, or a playlist, a picture or another thing that is not read as a video.
        av.FFmpegError, OSError: it does not open.
    """
    if problem := why_no_file(path):
        raise DecodeError(problem)
    # As a file, too: FFmpeg would take "12:30.mp4" for a protocol.
    source: Any = RemoteFile(transfers.with_state(path)) if isinstance(path, RemotePath) else f"file:{path}"
    try:
        return av.open(source, options=dict(OPTIONS))  # type: ignore[no-any-return]
    except av.FFmpegError as error:
        if problem := why_no_video(path):
            raise DecodeError(problem) from error
        if isinstance(error, av.ArgumentError):  # which may be a format that is not among those of OPTIONS
            raise DecodeError("does not decode (it is in no container of videos that is read here)") from error
        raise


def video_streams(container: av.container.InputContainer) -> list[av.VideoStream]:
    """Returns the streams that may be the video."""
    # Cover art of an audio file is a video stream too, of one picture. One of a codec that FFmpeg does not know has no context.
    known = filter(lambda stream: stream.codec_context is not None, container.streams.video)
    return [stream for stream in known if not stream.disposition & Disposition.attached_pic]


def video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """Returns the stream that is the video.

    Raises:
        DecodeError: there is none.
    """
    if not (streams := video_streams(container)):
        raise DecodeError("has no video stream")
    if len(streams) > 1:  # a preview may come first: FFmpeg's choice, as decord's
        best = container.streams.best("video")
        return next((stream for stream in streams if best is not None and stream.index == best.index), streams[0])
    return streams[0]


def reason(error: Exception) -> str:
    """Returns what an exception says, as the end of a sentence that begins with the file."""
    text = getattr(error, "strerror", None) or str(error)
    return f"does not decode ({text})" if isinstance(error, av.FFmpegError) else text
