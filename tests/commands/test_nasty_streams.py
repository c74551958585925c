"""predict --stream where the stream, the disk or a number is out of the ordinary: nothing hangs or grows, no traceback."""

import argparse
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from media import decode_all, make_video
from runs import PIPE

from c2d_fast.commands import run_stream
from c2d_fast.commands.run_stream import _close, _Lines, _Stream, _warm_up, check_stream_flags
from c2d_fast.commands.window_model import clips_as_asked
from c2d_fast.commands.window_scores import Clips
from c2d_fast.errors import UserError
from c2d_fast.predict import parse
from c2d_fast.recipe import load_pipe
from c2d_fast.video import live_reader
from c2d_fast.video.demuxed import frames_of, packets_of
from c2d_fast.video.live_reader import Ended, LiveReader
from c2d_fast.video.live_source import LiveSource


class Growing:
    """A container in which a stream begins, as PyAV 18 reads it: what it has no room for may look wanted at the end."""

    def __init__(self, container):
        self._container = container

    def demux(self, stream):
        yield from self._container.demux(stream)
        raise IndexError("list index out of range")


def test_a_stream_that_begins_in_the_middle_costs_nothing(tmp_path):
    path = make_video(tmp_path / "v.mp4", num_frames=12)
    with av.open(str(path)) as container:
        assert len(list(frames_of(Growing(container), container.streams.video[0]))) == len(decode_all(path)) == 12
    with av.open(str(path)) as container:
        assert not list(packets_of(Growing(container), container.streams.video[0]))[-1].size


def test_a_reader_that_fails_is_heard():
    def fails():
        raise RuntimeError("a bug")

    source = LiveSource("pipe", "a pipe", "")
    object.__setattr__(source, "open", fails)
    reader = LiveReader(source, print, max_delay_s=1, key_frames=False)
    with pytest.raises(RuntimeError, match="a bug"):
        reader.take(10)


def test_what_is_no_device_is_not_tried_again(monkeypatch):
    monkeypatch.setattr(live_reader, "_START_LIMIT_S", 1000)
    reader = LiveReader(LiveSource("device", "/dev/null", "/dev/null"), print, max_delay_s=1, key_frames=False)
    assert reader.take(30) == [Ended("is no video device", is_last=True)]


def test_a_frame_that_stands_for_hours_is_scored_bit_by_bit(tmp_path, capsys):
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 60, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number + 25 * 3600 * (number > 1), Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    together = []

    def score(clips):
        together.append(len(clips))
        return np.full((len(clips), 2), 0.5, np.float32)

    args = argparse.Namespace(max_delay=None, batch_size=4, key_frames=False, quiet=True, smooth=None, out=None)
    clips = Clips(20.0, 10.0, 2)
    lines = _Lines(None, args, clips, ["nothing", "an event"], [0.0, 0.0], several=False)
    _Stream(args, LiveSource("file", "a file", f"file:{path}"), clips, load_pipe(PIPE).recipe, score, lines).run()
    assert sum(together) == len(capsys.readouterr().out.splitlines()) == pytest.approx(360, abs=2)
    assert max(together) == 4


def test_windows_that_no_memory_holds_are_refused():
    recipe = load_pipe(PIPE).recipe
    for words, said in (
        (["--stride", "1e-7"], "--stride 1e-07: makes too many windows; give 0.002 or more"),
        (["--window", "1e-300"], "--window 1e-300: makes too many windows; give 0.002 or more"),
        (["--window", "5000", "--stride", "1"], "--stride 1: makes too many windows; give 5 or more"),
    ):
        with pytest.raises(UserError, match=said):
            clips_as_asked(parse(["--pipe", "x", "--checkpoint", "x", *words]), recipe)


@pytest.mark.parametrize("kind", [MemoryError, RuntimeError])
def test_a_batch_that_no_memory_holds_is_refused(kind):
    def score(clips):
        if len(clips) > 1:
            raise kind("no memory\nmore of it")

    with pytest.raises(UserError, match=r"--batch-size 900: so many windows do not fit memory \(no memory\); give fewer"):
        _warm_up(score, load_pipe(PIPE).recipe, Clips(2.0, 1.0, 2), 900)


def test_the_lines_do_not_go_where_something_is_read(tmp_path, monkeypatch):
    path = tmp_path / "v.mkv"
    path.write_bytes(b"a video")
    monkeypatch.setattr(run_stream, "_STANDARD_INPUT", str(path))
    with pytest.raises(UserError, match=r"--out .*v\.mkv: is .*, which is only read"):
        check_stream_flags(parse(["--pipe", "x", "--checkpoint", "x", "--stream", "-", "--out", str(path)]))


def test_a_full_disk_is_said_once():
    file = open("/dev/full", "a", encoding="utf-8")  # noqa: SIM115 (what closes it is what is tested)
    lines = _Lines(file, SimpleNamespace(smooth=None, out="/dev/full"), Clips(2, 1, 8), ["a"], [0.0], several=False)
    with pytest.raises(UserError, match="--out /dev/full: cannot be written"):
        lines.end("it is over")
    _close(file)
    assert file.closed
