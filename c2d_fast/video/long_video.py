"""Reads a long video once, from front to back: of its frames those at given times, nothing else is kept. No torch, no DALI."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import av.container
import numpy as np
from numpy.typing import NDArray

from c2d_fast.video.demuxed import packets_of
from c2d_fast.video.frame_converter import FrameConverter, ImageTransform
from c2d_fast.video.reader import DecodeError, open_video, reason, video_stream

_NEAR_S = 1e-6
_STEPS_BACK_S = (0.0, 10.0, 100.0, float("inf"))
_BEFORE_ALL_S = 1.0


def frames_at(
    path: Path, times: Iterator[float], transform: ImageTransform, *, key_frames: bool = False
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yields for each time what is kept of the first frame that is shown then or later; ends with the video.

    Each packet is read once, and decoded at most once. Of a video of key frames alone only those that are wanted are decoded.

    Args:
        path: the video.
        times: in seconds from the first frame on, never falling; the first one is where reading begins.
        transform: makes what is kept of a frame, RGB uint8 [H, W, C].
        key_frames: decode key frames alone: much quicker, and as coarse as these lie apart.

    Raises:
        DecodeError: the video does not open, or has no frame that decodes.
    """
    try:
        with open_video(path) as container:
            stream = video_stream(container)
            stream.thread_type = "AUTO"
            if key_frames:
                stream.codec_context.skip_frame = "NONKEY"
            yield from _Reading(container, stream, times, key_frames=key_frames).frames(transform)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError(reason(error)) from error


def duration_of(path: Path) -> float:
    """Returns the seconds that a container says its video lasts; 0.0 where it does not say.

    Raises:
        DecodeError: it does not open.
    """
    try:
        with open_video(path) as container:
            stream = video_stream(container)
            if stream.duration and stream.time_base:
                return float(stream.duration * stream.time_base)
            return container.duration / av.time_base if container.duration else 0.0
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(reason(error)) from error


class _Reading:
    """A video that is being read."""

    def __init__(
        self, container: av.container.InputContainer, stream: av.VideoStream, times: Iterator[float], *, key_frames: bool
    ):
        self._container, self._stream, self._times, self._key_frames = container, stream, times, key_frames
        self._unit_s = float(stream.time_base or 1)
        self._first: int | None = stream.start_time  # of the first frame that is shown
        self._wanted: float | None = next(times, None)
        self._count = 0

    def frames(self, transform: ImageTransform) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        converter = FrameConverter(None, transform)
        for frame in self._from_wanted():
            at = self._time_of(frame.pts)
            self._count += 1
            kept = None
            while self._wanted is not None and self._wanted <= at + _NEAR_S:
                kept = converter.convert(frame).copy() if kept is None else kept
                yield self._wanted, kept
                self._wanted = next(self._times, None)
            if self._wanted is None:
                return
        if not self._count:
            raise DecodeError("has no frame that decodes")

    def _from_wanted(self) -> Iterator[av.VideoFrame]:
        """Yields the frames from the first that is wanted on, or from before."""
        if not self._wanted or self._first is None:
            yield from self._decoded()
            return
        # MPEG-TS has no index: FFmpeg may find a place behind the key frame that is needed.
        for back_s in _STEPS_BACK_S:
            target_s = max(self._wanted - back_s, -_BEFORE_ALL_S)
            self._container.seek(int(self._first + target_s / self._unit_s), stream=self._stream)
            with closing(self._decoded()) as frames:  # type: ignore[type-var]
                frame = next(frames, None)
                if frame is not None and (self._time_of(frame.pts) <= self._wanted + _NEAR_S or target_s < 0):
                    yield frame
                    yield from frames
                    return

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Yields the frames that are decoded, in the order in which they are shown."""
        with closing(packets_of(self._container, self._stream)) as packets:
            held: Any = None
            only_keys = True
            for packet in packets:
                if self._key_frames and packet.size and not packet.is_keyframe:
                    continue
                if only_keys and packet.is_keyframe and packet.pts is not None:
                    # Nothing depends on a key frame that another one follows: it need not be decoded where nobody wants it.
                    if held is not None and self._is_wanted(held):
                        yield from self._stream.decode(held)
                    held = packet
                    continue
                if held is not None:
                    only_keys = packet.dts is None and packet.pts is None  # the end
                    yield from self._stream.decode(held)
                    held = None
                yield from self._stream.decode(packet if packet.size else None)

    def _is_wanted(self, packet: Any) -> bool:
        # The first frame tells that the video decodes at all.
        return not self._count or (self._wanted is not None and self._wanted <= self._time_of(packet.pts) + _NEAR_S)

    def _time_of(self, pts: int | None) -> float:
        if pts is None:
            raise DecodeError("has frames without a time")
        self._first = pts if self._first is None else self._first
        return (pts - self._first) * self._unit_s
