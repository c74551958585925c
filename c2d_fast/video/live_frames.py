"""From a stream's packets to frames, each at its time since the first one, whatever timestamps do. No torch, no DALI."""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from c2d_fast.video.frame_converter import FrameConverter, ImageTransform
from c2d_fast.video.live_reader import USUAL_RATE, Arrived, Ended, Event, Opened

_BACK_S, _FORTH_S = 1.0, 10.0
_REMEMBERED = 128  # more than any decoder holds back


@dataclass(frozen=True)
class LiveFrame:
    """A decoded frame."""

    time_s: float
    """Since the first frame; never falls."""
    arrived_s: float
    due_s: float
    """As those of its packet."""
    is_cut: bool
    """Whether something is missing before it."""
    dropped: int
    """Frames before it that were thrown away undecoded, since the last one."""
    image: av.VideoFrame


class LiveFrames:
    """Decodes what a reader gives."""

    def __init__(self, transform: ImageTransform, *, key_frames: bool, waits: bool):
        """Begins.

        Args:
            transform: makes what is kept of an image.
            key_frames: decode key frames only.
            waits: the source is a file: its times are taken as they are, and begin where its container says.
        """
        self._transform, self._key_frames, self._waits = transform, key_frames, waits
        self._clock = StreamClock(_FORTH_S if not waits else float("inf"))
        self._opened: Opened | None = None
        self._converter = FrameConverter(None, transform)
        self._packets: deque[Arrived] = deque(maxlen=_REMEMBERED)
        self._is_cut, self._dropped = False, 0
        self.count = 0
        """Frames so far."""

    def of(self, event: Event) -> Iterator[LiveFrame]:
        """Yields the frames that an event brings; what does not decode is passed over."""
        if isinstance(event, Opened):
            self._open(event)
            return
        if isinstance(event, Ended):
            yield from self._end(flush=event.is_last)
            return
        if self._opened is None:
            return
        if event.dropped:
            self._opened.stream.codec_context.flush_buffers()
            self._is_cut, self._dropped = True, self._dropped + event.dropped
        self._packets.append(event)
        yield from self._decoded(event)

    def picture(self, frame: LiveFrame) -> NDArray[np.uint8]:
        """Returns what is kept of a frame."""
        kept: NDArray[np.uint8] = self._converter.convert(frame.image).copy()
        return kept

    def _open(self, event: Opened) -> None:
        stream = event.stream
        # Threads that take a frame each would hold as many frames back.
        stream.thread_type = "AUTO" if self._waits else "SLICE"
        if self._key_frames:
            stream.codec_context.skip_frame = "NONKEY"
        self._opened, self._converter = event, FrameConverter(None, self._transform)
        self._packets.clear()
        rate = float(stream.guessed_rate or USUAL_RATE)
        self._clock.open(float(stream.time_base or 1), 1 / rate, stream.start_time)
        self._is_cut = self.count > 0

    def _end(self, *, flush: bool) -> Iterator[LiveFrame]:
        if self._opened is None:
            return
        if flush:
            yield from self._decoded(None)
        self._opened.container.close()
        self._opened = None

    def _decoded(self, event: Arrived | None) -> Iterator[LiveFrame]:
        assert self._opened is not None
        images: list[av.VideoFrame] = []
        with suppress(av.FFmpegError):  # a damaged packet; the next key frame mends it
            images = self._opened.stream.codec_context.decode(None if event is None else event.packet)
        for image in images:
            own = (one for one in self._packets if one.packet.pts is not None and one.packet.pts == image.pts)
            packet = next(own, self._packets[-1])
            time_s, has_jumped = self._clock.place(image.pts, packet.due_s)
            is_cut, dropped = self._is_cut or has_jumped, self._dropped
            self._is_cut, self._dropped, self.count = False, 0, self.count + 1
            yield LiveFrame(time_s, packet.arrived_s, packet.due_s, is_cut, dropped, image)


class StreamClock:
    """Gives each frame a time since the first one.

    Timestamps are followed as long as they go on. Where one is missing, a frame follows the one before at the stream's rate.
    Where they jump, go back or begin anew, time goes on by as much as has passed between the two frames' arrivals.
    """

    def __init__(self, longest_step_s: float):
        """Begins; longest_step_s: what is no jump yet."""
        self._longest_step_s = longest_step_s
        self._unit_s, self._frame_s = 1.0, 1 / USUAL_RATE
        self._first: int | None = None  # the timestamp at _base_s
        self._base_s = 0.0
        self._last: tuple[float, float] | None = None  # time, and when it was due

    def open(self, unit_s: float, frame_s: float, start: int | None) -> None:
        """Begins a stream.

        Args:
            unit_s: of timestamps.
            frame_s: from one frame to the next, where timestamps do not say it.
            start: what its container says of the first timestamp.
        """
        self._unit_s, self._frame_s = unit_s, frame_s
        self._first = start if self._last is None else None

    def place(self, pts: int | None, due_s: float) -> tuple[float, bool]:
        """Returns a frame's time, and whether timestamps have jumped before it."""
        if self._last is None:
            is_near = pts is not None and self._first is not None and abs(pts - self._first) * self._unit_s <= _FORTH_S
            self._first = self._first if is_near else pts
            at_s = 0.0 if pts is None or self._first is None else (pts - self._first) * self._unit_s
            self._last = max(at_s, 0.0), due_s
            return self._last[0], False
        last_s, last_due_s = self._last
        if pts is None:
            at_s = last_s + self._frame_s
        elif self._first is None:
            at_s = self._begin(pts, last_s, due_s - last_due_s)
        else:
            at_s = self._base_s + (pts - self._first) * self._unit_s
            if not -_BACK_S <= at_s - last_s <= self._longest_step_s:
                at_s = self._begin(pts, last_s, due_s - last_due_s)
                self._last = at_s, due_s
                return at_s, True
        self._last = max(at_s, last_s), due_s
        return self._last[0], False

    def _begin(self, pts: int, last_s: float, passed_s: float) -> float:
        self._first, self._base_s = pts, last_s + max(self._frame_s, passed_s)
        return self._base_s
