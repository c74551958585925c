"""Streams below the command: sources, what is late in them, and the times of their frames."""

import subprocess
import sys
import time
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media import make_video, read_number

from c2d_fast.commands.live_windows import LiveWindows, Waiting, Window
from c2d_fast.commands.window_scores import Clips, clips_of
from c2d_fast.errors import UserError
from c2d_fast.video import live_reader
from c2d_fast.video.live_frames import LiveFrames, StreamClock
from c2d_fast.video.live_reader import Arrived, Ended, LiveReader, Opened
from c2d_fast.video.live_source import LiveSource, live_source
from c2d_fast.video.long_video import frames_at


def remux(path, target, container):
    """The same packets in another container, or in none."""
    with av.open(str(path)) as source, av.open(str(target), "w", format=container) as to:
        stream = to.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                to.mux(packet)
    return target


def windows_of(reader, clips, *, waits=True):
    """All windows of a reader's stream, in order; nothing of it is late."""
    frames, windows, found = LiveFrames(np.copy, key_frames=False, waits=waits), LiveWindows(clips), []
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for event in reader.take(0.5):
            for frame in frames.of(event):
                assert not frame.is_cut
                found += windows.add(frame, frames.picture)
            if isinstance(event, Ended):
                return found + list(windows.end())
    raise AssertionError("does not end")


@pytest.mark.parametrize("container", ["mpegts", "matroska"])
def test_a_stream_that_is_a_file_has_the_windows_of_the_file(container, tmp_path):
    path = remux(make_video(tmp_path / "v.mp4", num_frames=110, g="25"), tmp_path / "v", container)
    clips = Clips(1.0, 0.35, 5)
    expected = list(clips_of(lambda times: frames_at(path, times, np.copy), clips, 0))
    source = LiveSource("pipe", "a file", f"file:{path}")
    object.__setattr__(source, "open", lambda: av.open(str(path)))
    made = windows_of(LiveReader(source, print, max_delay_s=5, key_frames=False), clips)
    assert [window.number for window in made] == list(range(len(expected)))
    assert len(made) > 10
    for window, clip in zip(made, expected, strict=True):
        assert np.array_equal(window.clip, clip), window.number


def test_raw_h264_has_times_by_its_rate(tmp_path):
    path = remux(make_video(tmp_path / "v.mp4", num_frames=100), tmp_path / "v.h264", "h264")
    source = LiveSource("file", "a file", f"file:{path}")
    made = windows_of(LiveReader(source, print, max_delay_s=5, key_frames=False), Clips(1.0, 1.0, 2))
    assert [[read_number(frame) for frame in window.clip] for window in made] == [
        [7, 19], [32, 44], [57, 69], [82, 94]
    ]  # fmt: skip


@given(st.lists(st.tuples(st.none() | st.integers(-(2**40), 2**40), st.floats(0, 5), st.booleans()), min_size=2, max_size=40))
def test_time_goes_on_whatever_timestamps_do(frames):
    clock, now, last = StreamClock(10.0), 0.0, 0.0
    clock.open(0.001, 0.04, None)
    for pts, passed, is_new in frames:
        if is_new:
            clock.open(0.001, 0.04, None)
        now += passed
        at, _ = clock.place(pts, now)
        assert last <= at <= last + max(10.0, passed) + 0.04
        last = at


def test_timestamps_are_followed_and_jumps_bridged():
    clock = StreamClock(10.0)
    clock.open(0.5, 0.5, 100)
    placed = [clock.place(pts, due) for pts, due in (
        (101, 7.0), (103, 7.1), (None, 7.2), (105, 7.3), (90000, 9.3), (90001, 9.4), (3, 9.5), (4, 10.0), (4, 10.1)
    )]  # fmt: skip
    assert [at for at, _ in placed] == pytest.approx([0.5, 1.5, 2.0, 2.5, 4.5, 5.0, 5.5, 6.0, 6.0])
    assert [at for at, (_, jumped) in enumerate(placed) if jumped] == [4, 6]
    clock.open(0.5, 0.5, 0)  # opened again
    assert clock.place(77, 40.1) == (pytest.approx(36.0), False)


class Packet(SimpleNamespace):
    size = 1000


class FakeContainer:
    """Gives packets as fast as they are taken; 25 a second, a key frame each second; after some it waits for each."""

    def __init__(self, count, waits_after=10**9, pause_s=0.0):
        self.count, self.waits_after, self.pause_s = count, waits_after, pause_s
        self.streams = SimpleNamespace(
            video=[SimpleNamespace(time_base=0.04, guessed_rate=25, disposition=0, codec_context=object())]
        )

    def demux(self, stream):
        for number in range(self.count):
            if number >= self.waits_after:
                time.sleep(self.pause_s)
            yield Packet(dts=number, pts=number, is_keyframe=number % 25 == 0)


def fake_reader(kind, container, **more):
    source = LiveSource(kind, "a fake", "")
    object.__setattr__(source, "open", lambda: container)
    return LiveReader(source, lambda text: None, **{"max_delay_s": 0.3, "key_frames": False, **more})


def numbers(events):
    return [(event.packet.dts, event.dropped) for event in events if isinstance(event, Arrived)]


def test_a_camera_that_nobody_listens_to_is_dropped_up_to_a_key_frame():
    reader = fake_reader("rtsp", FakeContainer(1000, 0, 0.005))
    opened, *_ = reader.take(5)
    assert isinstance(opened, Opened)
    time.sleep(1.5)
    found = numbers(reader.take(0))
    reader.stop()
    (first, dropped), *others = found
    assert first % 25 == 0
    assert first - dropped <= 5  # those taken with the opening
    assert [number for number, _ in others] == list(range(first + 1, first + len(found)))
    assert not any(dropped for _, dropped in others)


def test_a_pipe_that_is_quick_waits_and_loses_nothing(monkeypatch):
    monkeypatch.setattr(live_reader, "_PACKETS", 100)
    reader = fake_reader("pipe", FakeContainer(1000))
    time.sleep(0.2)
    assert reader._packets == 100
    events = []
    while not events or not isinstance(events[-1], Ended):
        events += reader.take(1)
    assert numbers(events) == [(number, 0) for number in range(1000)]


def test_what_a_slow_pipe_had_in_store_is_late_at_once():
    """Five seconds come in a moment, then one packet at a time: the last of the five was due in that moment."""
    reader = fake_reader("pipe", FakeContainer(160, 125, 0.04))
    time.sleep(1.3)
    found = numbers(event for _ in range(3) for event in reader.take(0))
    assert 100 <= found[0][0] <= 150
    assert found[0][1] == found[0][0]


def test_a_source_that_never_opens_is_given_up(monkeypatch):
    monkeypatch.setattr(live_reader, "_START_LIMIT_S", 0.2)
    monkeypatch.setattr(live_reader, "_FIRST_WAIT_S", 0.05)
    reader = LiveReader(live_source("rtsp://127.0.0.1:9/x"), print, max_delay_s=1, key_frames=False)
    assert reader.take(10) == [Ended("connection refused", is_last=True)]


def test_windows_begin_anew_behind_a_gap():
    clips = Clips(1.0, 0.5, 2)
    windows = LiveWindows(clips)

    def frames(first, last):
        for number in range(first, last):
            frame = SimpleNamespace(time_s=number / 10, arrived_s=0.0, due_s=0.0)
            yield from windows.add(frame, lambda frame: np.full((1, 1, 3), round(10 * frame.time_s), np.uint8))

    before = [(window.number, window.clip[:, 0, 0, 0].tolist()) for window in frames(0, 17)]
    assert before == [(0, [3, 8]), (1, [8, 13])]
    assert windows.cut(4.0) == 6  # of windows 2 to 7 something is missing: that one begins at 3.5, wants 3.75
    after = [(window.number, window.clip[:, 0, 0, 0].tolist()) for window in frames(40, 55)]
    assert after[0] == (8, [43, 48])


def test_windows_that_come_too_late_are_dropped():
    def window(number, age_s):
        return Window(number, np.zeros(1, np.uint8), 0.0, time.monotonic() - age_s)

    waiting = Waiting(2.0, 3)
    for number, age_s in enumerate((1.5, 1.0, 0.5, 0.1)):
        waiting.add(window(number, age_s))
    waiting.scored(1, 0.2)  # two together are in time
    assert ([one.number for one in waiting.take()[0]], len(waiting)) == ([0, 1], 2)
    waiting.scored(1, 5.0)
    windows, dropped = waiting.take()
    assert ([one.number for one in windows], dropped, len(waiting)) == ([3], 1, 0)  # the newest one in any case
    assert waiting.take() == ([], 0)


def test_sources_are_told_apart(monkeypatch, tmp_path):
    monkeypatch.setenv("RTSP_USER", "me@home")
    monkeypatch.setenv("RTSP_PASSWORD", "a:b/c")
    camera = live_source("rtsp://cam.lan:554/live?channel=1")
    assert (camera.kind, camera.name) == ("rtsp", "rtsp://cam.lan:554/live")
    assert camera.address == "rtsp://me%40home:a%3Ab%2Fc@cam.lan:554/live?channel=1"
    assert "home" not in repr(camera)
    assert live_source("/dev/null").kind == "device"
    make_video(tmp_path / "v.mp4", num_frames=3)
    for text, said in (
        ("rtsp://me:secret@cam/x", "rtsp://cam/x: holds a user or password"),
        ("rtsp:///x", "names no host"),
        ("https://h/x?token=secret", "--stream https://...: must be rtsp://"),
        (str(tmp_path / "v.mp4"), "is no video device; pipe it in"),
        ("/dev/video77", "/dev/video77: no such device"),
        (str(tmp_path), "name a device"),
    ):
        with pytest.raises(UserError, match=r"^--stream ") as caught:
            live_source(text)
        assert said in str(caught.value)
        assert "secret" not in str(caught.value)


def test_standard_input_is_a_pipe_or_a_file(tmp_path):
    code = "from c2d_fast.video.live_source import live_source; print(live_source('-').kind)"
    path = make_video(tmp_path / "v.mp4", num_frames=3)
    with path.open("rb") as file:
        assert subprocess.check_output([sys.executable, "-c", code], stdin=file, timeout=60) == b"file\n"
    assert subprocess.check_output([sys.executable, "-c", code], input=b"", timeout=60) == b"pipe\n"
