"""Reads a stream's packets in a thread, keeps what is not older than a limit, and opens the source again. No torch, no DALI.

What is due: a packet of a camera or a device, when it has arrived. One of a pipe when its time has come, counted from the last
moment at which the pipe had nothing: a file that is piped in comes faster, and is late only if it is used slower than it plays.
"""

import errno
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import av
import av.container

from c2d_fast.video.demuxed import packets_of
from c2d_fast.video.live_source import LiveSource
from c2d_fast.video.reader import DecodeError, video_stream

_START_LIMIT_S = 10.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 10.0
_STEADY_S = 10.0  # a connection that lasted so long was a good one
_SAY_AGAIN_S = 60.0
_PACKETS = 2000  # of a pipe, which waits then: more than a source of real time has in store
_BYTES = 128 * 2**20
_AT_ONCE = 64
_NEAR_S = 0.25
_LONGEST_STEP_S = 10.0
_COMPARED, _SHARE = 8, 0.5
USUAL_RATE = 25.0
"""Frames per second, where a stream does not say it."""


@dataclass(frozen=True)
class Opened:
    """The source has been opened; what comes now is decoded anew."""

    container: av.container.InputContainer
    stream: av.VideoStream


@dataclass(frozen=True)
class Arrived:
    """A packet."""

    packet: Any
    arrived_s: float
    """When it came, or when it was due, if it came later; of time.monotonic()."""
    due_s: float
    """When it was due."""
    dropped: int
    """Packets before it that were thrown away since the last one."""


@dataclass(frozen=True)
class Ended:
    """Nothing more comes of this opening."""

    why: str
    """Empty: the source has ended by itself."""
    is_last: bool
    """Whether it is not opened again."""


Event = Opened | Arrived | Ended


class LiveReader:
    """A thread that reads; the one that made it takes what has come."""

    def __init__(self, source: LiveSource, say: Callable[[str], None], *, max_delay_s: float, key_frames: bool):
        """Begins to open the source.

        Args:
            source: what is read.
            say: called, in the thread, with lines for the user.
            max_delay_s: packets that have been due for longer are thrown away, up to the next key frame.
            key_frames: take key frames only.
        """
        self._source, self._say, self._max_delay_s, self._key_frames = source, say, max_delay_s, key_frames
        self._events: deque[Event] = deque()
        self._packets = self._bytes = self._dropped = 0
        self._needs_key = self._is_stopped = self._was_open = False
        self._failed: Exception | None = None
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="stream", daemon=True).start()

    def take(self, limit_s: float) -> list[Event]:
        """Returns what has come, a part of it if it is much; waits if there is nothing, but not longer than the limit.

        Raises:
            Exception: what the thread has ended with.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._failed, limit_s)
            if self._failed and not self._events:
                raise self._failed
            self._drop_late()
            found = [self._events.popleft() for _ in range(min(len(self._events), _AT_ONCE))]
            packets = [event.packet for event in found if isinstance(event, Arrived)]
            self._packets, self._bytes = self._packets - len(packets), self._bytes - sum(packet.size for packet in packets)
            self._changed.notify_all()
        return found

    def stop(self) -> None:
        """Has the thread end, with the next packet at the latest; nobody waits for it."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            self._read_openings()
        except Exception as error:  # without a thread the other side would wait for ever
            with self._changed:
                self._failed = error
                self._changed.notify_all()

    def _read_openings(self) -> None:
        began_s = said_s = time.monotonic()
        wait_s, lost_s = _FIRST_WAIT_S, 0.0
        while not self._is_stopped:
            opened_s = time.monotonic()
            try:
                container = self._source.open()
                stream = video_stream(container)
            except (DecodeError, av.FFmpegError, OSError) as error:
                why, is_last = str(error), not self._was_open and not self._may_try(error, began_s)
                if is_last:
                    self._put(Ended(why, is_last=True))
                    return
                if self._was_open and time.monotonic() - said_s > _SAY_AGAIN_S:
                    said_s = time.monotonic()
                    self._say(f"{self._source.name}: away for {said_s - lost_s:.0f} s ({why}); tries go on")
            else:
                if self._was_open:
                    self._say(f"{self._source.name}: there again after {time.monotonic() - lost_s:.1f} s")
                self._was_open = True
                self._put(Opened(container, stream))
                why = self._read(container, stream)
                is_last = not self._source.comes_back
                self._put(Ended(why, is_last))
                if is_last or self._is_stopped:
                    return
                lost_s = said_s = time.monotonic()
                wait_s = _FIRST_WAIT_S if lost_s - opened_s > _STEADY_S else wait_s
                self._say(f"{self._source.name}: lost ({why or 'it has ended'}); it is opened again until it answers")
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopped, wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _may_try(self, error: Exception, began_s: float) -> bool:
        """Says whether a source that was never open may get ready in a moment."""
        cause = error.__cause__
        is_refused = isinstance(cause, av.HTTPClientError)  # it is there, and says no
        is_refused |= isinstance(cause, OSError) and cause.errno == errno.ENOTTY  # no device of Video4Linux
        return self._source.comes_back and not is_refused and time.monotonic() - began_s < _START_LIMIT_S

    def _read(self, container: av.container.InputContainer, stream: av.VideoStream) -> str:
        """Reads until the connection ends; returns why, nothing if it has just ended."""
        clock = _Clock(stream, is_paced=self._source.kind in ("pipe", "file"))
        packets = packets_of(container, stream)
        self._needs_key = False
        try:
            while not self._is_stopped:
                asked_s = time.monotonic()
                packet = next(packets, None)
                if packet is None:
                    return ""
                now_s = time.monotonic()
                due_s, earlier_s = clock.due(packet, now_s, now_s - asked_s)
                self._correct(earlier_s)
                if packet.size and not (self._key_frames and not packet.is_keyframe):
                    self._put_packet(packet, min(now_s, due_s), due_s)
        except (av.FFmpegError, OSError, ValueError) as error:
            return self._source.why(error)
        return ""

    def _put(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def _put_packet(self, packet: Any, arrived_s: float, due_s: float) -> None:
        with self._changed:
            if self._source.comes_back or self._needs_key:
                self._drop_late()
            else:
                self._changed.wait_for(self._has_room, None)
            if self._needs_key and not packet.is_keyframe:
                self._dropped += 1
                return
            self._needs_key = False
            self._events.append(Arrived(packet, arrived_s, due_s, self._dropped))
            self._packets, self._bytes, self._dropped = self._packets + 1, self._bytes + packet.size, 0
            self._changed.notify_all()

    def _correct(self, earlier_s: float) -> None:
        """Has packets that wait been due earlier: more came at once than was known when they came."""
        if earlier_s <= _NEAR_S:
            return
        with self._changed:
            self._events = deque(
                replace(event, arrived_s=min(event.arrived_s, event.due_s - earlier_s), due_s=event.due_s - earlier_s)
                if isinstance(event, Arrived)
                else event
                for event in self._events
            )

    def _has_room(self) -> bool:
        return self._is_stopped or (self._packets < _PACKETS and self._bytes < _BYTES)

    def _drop_late(self) -> None:
        """Throws packets away, up to a key frame that is not late; all, and what depends on them, where there is none."""
        if self._source.kind == "file":  # it waits
            return
        least_s = time.monotonic() - self._max_delay_s
        if not any(isinstance(event, Arrived) and self._is_late(event, least_s) for event in self._events):
            return
        kept: deque[Event] = deque()
        while self._events:
            event = self._events.popleft()
            if not isinstance(event, Arrived):
                kept.append(event)
                continue
            if event.packet.is_keyframe and not self._is_late(event, least_s):
                self._events.appendleft(replace(event, dropped=self._dropped + event.dropped))
                self._dropped, self._needs_key = 0, False
                break
            self._dropped += 1 + event.dropped
            self._packets, self._bytes = self._packets - 1, self._bytes - event.packet.size
            self._needs_key = True
        self._events.extendleft(reversed(kept))

    def _is_late(self, event: Arrived, least_s: float) -> bool:
        return event.due_s < least_s or self._bytes > _BYTES


class _Clock:
    """Says when packets are due."""

    def __init__(self, stream: av.VideoStream, *, is_paced: bool):
        self._unit_s, self._is_paced = float(stream.time_base or 1), is_paced
        self._frame_s = 1 / float(stream.guessed_rate or USUAL_RATE)
        self._media_s: float | None = None
        self._edge_s = 0.0  # when a packet of time 0 would have been due
        self._waits: deque[tuple[float, float]] = deque(maxlen=_COMPARED)

    def due(self, packet: Any, now_s: float, waited_s: float) -> tuple[float, float]:
        """Returns when a packet is due that has come now, after so long a wait, and how much earlier those before it were."""
        if not self._is_paced:
            return now_s, 0.0
        before_s = self._media_s
        if packet.dts is not None:
            self._media_s = packet.dts * self._unit_s
        else:
            self._media_s = (before_s or 0.0) + self._frame_s
        step_s = 0.0 if before_s is None else self._media_s - before_s
        is_jump = before_s is None or not 0 <= step_s <= _LONGEST_STEP_S
        self._waits.append((waited_s, 0.0 if is_jump else step_s))
        earlier_s = 0.0
        if is_jump or self._has_nothing():
            earlier_s = 0.0 if is_jump else self._edge_s - (now_s - self._media_s)
            self._edge_s = now_s - self._media_s
        return self._edge_s + self._media_s, earlier_s

    def _has_nothing(self) -> bool:
        """Says whether the last packets had to be waited for: one wait may be the machine's."""
        waited_s, played_s = (sum(one) for one in zip(*self._waits, strict=True))
        return len(self._waits) == _COMPARED and waited_s > _SHARE * played_s
