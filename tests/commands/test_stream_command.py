"""predict --stream: pipes and an RTSP server, a model that is too slow, and how it ends."""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import av
import fork_server
import numpy as np
import pytest
import torch
from events import GREY, RATE, RED, write_events
from fork_server import environment
from rtsp_server import RtspServer
from runs import PIPE, one_line

from c2d_fast.commands.run_stream import _Lines, _Stream, check_stream_flags
from c2d_fast.commands.window_model import centre_crop
from c2d_fast.commands.window_scores import Clips, clips_of
from c2d_fast.errors import UserError
from c2d_fast.model.model_file import read_model_file
from c2d_fast.model.weights import model_for
from c2d_fast.predict import parse
from c2d_fast.recipe import load_pipe
from c2d_fast.video.live_source import LiveSource
from c2d_fast.video.long_video import frames_at

EVENTS = [(3.0, 6.0), (10.5, 12.0), (20.0, 29.5)]
WINDOW_S, STRIDE_S = 1.0, 0.5
LIMIT_S = 60


@contextmanager
def streaming(red_or_not, source, *more, stdin=subprocess.PIPE):
    """The command on a stream, in a process of its own."""
    words = ["--stream", source, "--pipe", PIPE, "--checkpoint", red_or_not, "--window", WINDOW_S, "--stride", STRIDE_S, *more]
    words = [sys.executable, "-m", "c2d_fast.predict", *map(str, words)]
    pipes = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = fork_server.start(words, environment(), start_new_session=True, **pipes)
    try:
        yield process
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                with suppress(OSError):
                    stream.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(LIMIT_S)


def ended(process, given=None):
    """What a process writes from now until its end: lines as objects, and standard error."""
    if given is not None:
        process.stdin.write(given)
    if process.stdin:
        process.stdin.close()
    out, err = process.stdout.read(), process.stderr.read()  # it says little: no pipe fills
    process.wait(LIMIT_S)
    return [json.loads(line) for line in out.splitlines()], err.decode()


def scores_of(path, red_or_not):
    """The probabilities of a file's windows, computed here."""
    model, recipe = model_for(load_pipe(PIPE).recipe, read_model_file(red_or_not, "--checkpoint"), "--checkpoint", None)
    clips = Clips(WINDOW_S, STRIDE_S, recipe.clip.num_frames)
    made = list(clips_of(lambda times: frames_at(path, times, centre_crop(recipe)), clips, 0))
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(np.stack(made))).softmax(1).numpy()


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_events(tmp_path_factory.mktemp("video") / "long.mkv", 40, EVENTS)


def test_a_pipe_has_the_scores_of_its_file(video, red_or_not, tmp_path):
    expected = scores_of(video, red_or_not)
    with streaming(red_or_not, "-", "--out", tmp_path / "o.jsonl") as process:
        lines, said = ended(process, video.read_bytes())
    assert (process.returncode, said) == (0, "standard input: h264, 64x48\n")
    *windows, last = lines
    assert [line["window"] for line in windows] == list(range(len(expected)))
    assert [line["label"] for line in windows] == expected.argmax(1).tolist()
    assert [line["score"] for line in windows] == pytest.approx(expected.max(1).tolist(), abs=2e-4)
    assert {line["class"] for line in windows} == {"nothing", "an event"}
    assert (windows[3]["start"], windows[3]["end"]) == (1.5, 2.5)
    assert (last["ended"], last["windows"], last["dropped_windows"]) == ("the stream has ended", len(expected), 0)
    assert [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()] == lines
    # the same as of --segments: the last N windows are averaged, and what reaches no threshold has no name
    with streaming(red_or_not, "-", "--smooth", 4, "--threshold", 0.9, "--quiet", "--out", tmp_path / "o.jsonl") as process:
        lines, said = ended(process, video.read_bytes())
    assert (process.returncode, said) == (0, "")
    means = np.stack([expected[max(k - 3, 0) : k + 1].mean(0) for k in range(len(expected))])
    assert [line["score"] for line in lines[:-1]] == pytest.approx(means.max(1).tolist(), abs=2e-4)
    named = [line["class"] is not None for line in lines[:-1]]
    assert False in named
    assert named == (means.max(1) >= 0.9).tolist()
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 2 * len(lines)  # appended


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "stopped by SIGTERM")])
def test_signals_end_it_with_a_last_line(video, red_or_not, number, said):
    with streaming(red_or_not, "-") as process:
        process.stdin.write(video.read_bytes())  # and it stays open
        process.stdin.flush()
        json.loads(process.stdout.readline())
        process.send_signal(number)
        sent_s = time.monotonic()
        out, err = process.stdout.read(), process.stderr.read().decode()
        process.wait(LIMIT_S)
        assert time.monotonic() - sent_s < 3
    lines = [json.loads(line) for line in out.splitlines()]  # none is cut
    assert process.returncode == 128 + number
    assert lines[-1]["ended"] == said
    assert lines[-1]["windows"] == len(lines)  # and one was read before
    assert err.splitlines()[-1] == said


def test_nobody_reads_on(video, red_or_not, tmp_path):
    with streaming(red_or_not, "-", "--out", tmp_path / "o.jsonl") as process:
        process.stdout.close()
        process.stdin.write(video.read_bytes())
        process.stdin.flush()
        assert process.wait(LIMIT_S) == 1
        assert process.stderr.read() == b"standard input: h264, 64x48\n"
    assert json.loads((tmp_path / "o.jsonl").read_text().splitlines()[-1])["ended"] == "nobody reads standard output"


def test_what_is_no_video_is_said_in_a_line(red_or_not, tmp_path):
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("mjpeg", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuvj420p"
        for number in range(2 * RATE):
            noise = np.random.default_rng(number).integers(0, 255, (240, 320, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())
    late_index = (tmp_path / "v.mp4").read_bytes()
    for given, said in ((b"no video " * 1000, "is no video that can be read"), (late_index, "its index in front")):
        with streaming(red_or_not, "-") as process:
            lines, err = ended(process, given)
        assert (process.returncode, lines) == (2, [])
        assert err.splitlines()[-1].startswith("error: --stream standard input: ")
        assert said in err
    with (tmp_path / "v.mp4").open("rb") as file, streaming(red_or_not, "-", stdin=file) as process:
        lines, err = ended(process)  # as a file it can be sought in
    assert (process.returncode, lines[-1]["windows"]) == (0, 4)


def feed(target, seconds):
    """Encodes grey and red frames as MPEG-TS, each at its time; a key frame twice a second."""
    with suppress(OSError), av.open(target, "w", format="mpegts", options={"flush_packets": "1"}) as container:
        options = {"g": "5", "bf": "0", "preset": "ultrafast", "tune": "zerolatency"}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        began_s = time.monotonic()
        for number in range(int(seconds * RATE)):
            time.sleep(max(began_s + number / RATE - time.monotonic(), 0))
            picture = np.full((48, 64, 3), RED if number // 5 % 2 else GREY, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))


@pytest.mark.slow  # it goes by the clock: on a machine that is busy with other tests more is late
def test_a_model_that_is_too_slow_drops_windows_and_is_not_late(tmp_path, capsys):
    ours, theirs = os.pipe()
    recipe = load_pipe(PIPE).recipe
    args = argparse.Namespace(max_delay=0.8, batch_size=2, key_frames=False, quiet=False, smooth=None, out=None)

    def score(clips):
        time.sleep(0.25 * len(clips))
        return np.full((len(clips), 2), 0.5, np.float32)

    clips = Clips(0.2, 0.1, 2)
    with (tmp_path / "o.jsonl").open("w+") as file:
        lines = _Lines(file, args, clips, ["nothing", "an event"], [0.0, 0.0], several=False)
        target = os.fdopen(theirs, "wb")
        feeding = threading.Thread(target=lambda: (feed(target, 4), target.close()), daemon=True)
        feeding.start()
        _Stream(args, LiveSource("pipe", "a pipe", f"pipe:{ours}"), clips, recipe, score, lines).run()
        lines.end("the stream has ended")
        feeding.join(LIMIT_S)
        file.seek(0)
        *windows, last = map(json.loads, file)
    assert last["dropped_windows"] >= 10
    # Packets that are thrown away at the very end have no frame behind them that would tell which windows are missing.
    assert last["windows"] + last["dropped_windows"] in range(25, 41)
    assert sum(line["dropped_windows"] for line in windows) == last["dropped_windows"]
    # What came while the stream was examined came at once. A busy machine takes its time, too.
    assert max(line["delay_s"] for line in windows if line["start"] > 1.5) < 0.8 + 0.5
    said = capsys.readouterr().err
    assert "windows dropped" in said
    assert "one takes the model 0.2" in said


def next_window(process):
    line = json.loads(process.stdout.readline())
    assert "window" in line, line
    return line


def test_a_camera_that_is_killed_and_comes_back(video, red_or_not):
    with RtspServer(video.parent) as server, streaming(red_or_not, server.url(video.name), stdin=None) as process:
        with streaming(red_or_not, server.url("none.mkv"), stdin=None) as other:
            before = [next_window(process) for _ in range(3)]
            lines, err = ended(other)
            assert (other.returncode, lines) == (2, [])
            assert "none.mkv: server returned 404 not found" in err
        server.kill()
        away_s = time.monotonic()
        assert process.stderr.readline().endswith(b"h264, 64x48\n")
        assert b"lost (" in process.stderr.readline()
        server.start()
        while (line := next_window(process))["window"] <= before[-1]["window"] + 2:
            pass  # what had come before
        after = [line, *(next_window(process) for _ in range(3))]
        assert b"there again after" in process.stderr.readline()
        away_s = time.monotonic() - away_s
        process.send_signal(signal.SIGTERM)
        lines, _ = ended(process)
    assert process.returncode == 143
    assert (lines[-1]["reconnects"], lines[-1]["dropped_windows"]) == (1, 0)
    numbers = [line["window"] for line in before + after]
    assert numbers == sorted(set(numbers))
    assert after[-1]["end"] - before[-1]["end"] == pytest.approx(away_s, abs=3)  # time went on meanwhile
    assert lines[-1]["delay_max_s"] < 3


def test_flags_that_do_not_fit_are_refused(red_or_not, tmp_path):
    base = ["--pipe", str(PIPE), "--checkpoint", str(red_or_not)]
    for words, said in (
        (["--max-delay", "3"], "--max-delay: is of --stream"),
        (["--out", "x"], "--out: is of --stream"),
        (["--stream", "rtsp://h/x", "a.mp4"], "VIDEO: does not go with --stream"),
        (["--stream", "rtsp://h/x", "--json"], "--json: does not go with --stream"),
        (["--stream", "rtsp://h/x", "--views", "10x3"], "--views: does not go with --stream"),
        (["--stream", "rtsp://h/x", "--segments", "x.json"], "--segments: does not go with --stream"),
        (["--stream", "rtsp://h/x", "--out", str(tmp_path / "no" / "x")], "--out"),
        (["--stream", "rtsp://h/x", "--out", str(red_or_not)], "--out"),
    ):
        with pytest.raises(UserError) as caught:
            check_stream_flags(parse([*base, *words]))
        assert said in str(caught.value)
    assert check_stream_flags(parse([*base, "a.mp4"])) is None
    done = fork_server.run([sys.executable, "-m", "c2d_fast.predict", *base, "--stream", "/dev/video77"], environment(), 60)
    one_line(done, 2, "--stream /dev/video77: no such device")
