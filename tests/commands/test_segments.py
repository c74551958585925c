"""predict --segments: long videos, window by window."""

import csv
import json
import signal
import sys
import time

import av
import fork_server
import numpy as np
import pytest
from events import GREY, RATE, RED, write_events
from fork_server import environment
from hypothesis import given
from hypothesis import strategies as st
from runs import PIPE, end, one_line

from c2d_fast.commands.window_scores import Clips, WindowScores, clips_of
from c2d_fast.reporting.segments import Segment, Windows, find_segments, written
from c2d_fast.reporting.timeline import colour_of, timeline
from c2d_fast.video.long_video import _Reading, duration_of, frames_at

EVENTS = [(3.0, 6.0), (10.5, 12.0), (20.0, 29.5)]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_events(tmp_path_factory.mktemp("video") / "long.mp4", 40, EVENTS)


def predict(*words, start=False):
    words = [sys.executable, "-m", "c2d_fast.predict", *map(str, words)]
    if start:
        return fork_server.start(words, environment(), start_new_session=True)
    return fork_server.run(words, environment(), 120)


def base(video, red_or_not, *more):
    return [video, "--pipe", PIPE, "--checkpoint", red_or_not, "--window", 1, "--stride", 0.5, *more]


@pytest.mark.parametrize(
    ("keys", "suffix"), [(1, "mp4"), (20, "mp4"), (20, "ts")], ids=["all-intra", "long groups", "no index"]
)
def test_frames_are_those_at_the_times_and_the_same_from_any_beginning(keys, suffix, tmp_path):
    path = write_events(tmp_path / f"v.{suffix}", 12, [(n, n + 0.5) for n in range(12)], keys=keys)
    times = [0.05 + 0.37 * k for k in range(30)]
    kept = list(frames_at(path, iter(times), lambda image: image.copy()))
    assert [at for at, _ in kept] == times
    for at, image in kept:
        shown = np.ceil(at * RATE - 1e-6) / RATE  # the first frame then or later
        assert abs(int(image[20, 30, 0]) - (RED if shown % 1 < 0.5 else GREY)[0]) < 25, at
    for first in (1, 7, 29):
        again = list(frames_at(path, iter(times[first:]), lambda image: image.copy()))
        assert [at for at, _ in again] == times[first:]
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(kept[first:], again, strict=True))
    assert duration_of(path) == pytest.approx(12, abs=0.2)


def test_of_key_frames_alone_only_those_are_decoded_that_are_wanted(tmp_path, monkeypatch):
    decoded, original = [], _Reading._decoded

    def counted(reading):
        for frame in original(reading):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(_Reading, "_decoded", counted)
    path = write_events(tmp_path / "v.mp4", 30, [], keys=1)
    assert [at for at, _ in frames_at(path, iter([0.0, 10.0, 20.0]), np.copy)] == [0.0, 10.0, 20.0]
    assert len(decoded) < 30  # of 300; the decoder's threads are given some before the first comes out
    coarse = write_events(tmp_path / "w.mp4", 30, [(10.0, 20.0)], keys=50)
    found = [int(image[20, 30, 0]) for _, image in frames_at(coarse, iter([1.0, 11.0, 21.0]), np.copy, key_frames=True)]
    assert [abs(value - 220) < 25 for value in found] == [False, True, False]


@given(
    window=st.floats(0.5, 4),
    stride=st.floats(0.2, 5),
    frames=st.integers(1, 6),
    first=st.integers(0, 3),
    seconds=st.integers(1, 25),
)
def test_windows_are_made_of_their_frames_in_order(window, stride, frames, first, seconds):
    clips = Clips(window, stride, frames)

    def reading(times):
        for at in times:
            if at > seconds:
                return
            yield at, np.full((1, 1, 3), int(10 * at) % 256, np.uint8)

    made = list(clips_of(reading, clips, first))
    for number, clip in enumerate(made, start=first):
        wanted = [clips.time(number, slot) for slot in range(frames)]
        there = [int(10 * at) % 256 for at in wanted if at <= seconds]
        assert clip[:, 0, 0, 0].tolist() == there + [there[-1]] * (frames - len(there))
        assert 2 * len(there) >= frames or number == 0
    if made:
        after = first + len(made)
        assert 2 * sum(clips.time(after, slot) <= seconds for slot in range(frames)) < frames


def test_segments_are_smoothed_and_merged_as_by_hand():
    scores = np.array([[0.9, 0.1]] * 3 + [[0.2, 0.8]] * 4 + [[0.9, 0.1]] + [[0.1, 0.9]] * 2 + [[0.6, 0.4]], np.float32)
    windows = Windows(1.0, 0.5, 6.0)
    found = list(find_segments(scores, windows, np.array([0.0, 0.5]), smooth=1, several=False))
    assert [(s.label, s.start_s, s.end_s) for s in found] == [
        (0, 0.0, 1.75), (1, 1.75, 3.75), (0, 3.75, 4.25), (1, 4.25, 5.25), (0, 5.25, 6.0)
    ]  # fmt: skip
    assert found[1].score == pytest.approx(0.8)
    smooth = list(find_segments(scores, windows, np.array([2.0, 0.5]), smooth=3, several=False))
    assert [(s.label, s.start_s, s.end_s) for s in smooth] == [(1, 1.75, 6.0)]  # single windows are smoothed away
    several = list(find_segments(scores, windows, np.array([0.5, 0.35]), smooth=1, several=True))
    assert [(s.label, s.start_s, s.end_s) for s in several][-2:] == [(0, 5.25, 6.0), (1, 4.25, 6.0)]
    assert list(find_segments(scores[:0], windows, np.array([0.5, 0.5]), smooth=1, several=False)) == []


def test_written_forms_are_read_back():
    segments = [Segment(0.0, 3661.25, 1, 0.934), Segment(4000.5, 4001.0, 0, 0.5)]
    classes = ['a, "b"\n--> c', "juggling"]
    rows = json.loads(written(segments, classes, ".json", {"video": "v.mp4"}))
    assert rows["segments"][0] == {"start": 0.0, "end": 3661.25, "class": "juggling", "label": 1, "score": 0.934}
    table = list(csv.DictReader(written(segments, classes, ".csv", {}).splitlines(keepends=True)))
    assert [row["class"] for row in table] == classes[::-1]
    srt = written(segments, classes, ".srt", {})
    assert srt.startswith("1\n00:00:00,000 --> 01:01:01,250\njuggling (93 %)\n\n2\n01:06:40,500 --> 01:06:41,000\n")
    assert srt.count("-->") == 2


def test_a_bar_shows_all_segments():
    bar = timeline([Segment(2.0, 4.0, 3, 0.9)], 10.0, 100, 8)
    assert (bar[4, 20:40] == colour_of(3)).all()
    assert (bar[4, :20] == 24).all()
    assert (bar[4, 40:] == 24).all()


def test_the_events_of_a_video_are_found(video, red_or_not, tmp_path):
    files = [tmp_path / f"out{suffix}" for suffix in (".json", ".csv", ".srt")]
    given = [word for file in files for word in ("--segments", file)]
    done = predict(*base(video, red_or_not, *given, "--overlay", tmp_path / "shown.mp4"))
    assert done.returncode == 0, done.stderr
    assert "times real time" in done.stdout
    found = json.loads(files[0].read_text())
    events = [(row["start"], row["end"]) for row in found["segments"] if row["class"] == "an event"]
    assert len(events) == len(EVENTS)
    assert np.abs(np.array(events) - np.array(EVENTS)).max() <= 0.5
    assert found["segments"][0]["start"] == 0.0
    assert found["segments"][-1]["end"] == pytest.approx(40, abs=0.2)
    assert files[2].read_text().count("an event") == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.json", "out.srt", "shown.mp4"]
    with av.open(str(tmp_path / "shown.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 40 * RATE
    quick = predict(*base(video, red_or_not, "--segments", tmp_path, "--key-frames", "--smooth", 3))
    assert quick.returncode == 0, quick.stderr
    assert {"long.json", "long.csv", "long.srt"} <= {path.name for path in tmp_path.iterdir()}


def test_interrupted_it_goes_on_and_finds_the_same(red_or_not, tmp_path):
    path = write_events(tmp_path / "long.mp4", 400, [(10.0 * n, 10.0 * n + 4) for n in range(40)])
    words = base(path, red_or_not, "--batch-size", 1)
    assert predict(*words, "--segments", tmp_path / "whole.json").returncode == 0
    kept = tmp_path / "again.json.windows"
    process = predict(*words, "--segments", tmp_path / "again.json", start=True)
    try:
        deadline = time.monotonic() + 60
        while not kept.exists() or kept.stat().st_size < 4096 + 8 * 40:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    finally:
        end(process)
    assert kept.exists()
    assert not (tmp_path / "again.json").exists()
    with kept.open("ab") as file:
        file.write(b"half")  # of a row
    done = predict(*words, "--segments", tmp_path / "again.json")
    assert done.returncode == 0, done.stderr
    assert "goes on at 0:00:" in done.stdout
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads((tmp_path / "whole.json").read_text())
    assert not kept.exists()


def test_scores_of_other_windows_are_not_gone_on_with(tmp_path):
    one = WindowScores(tmp_path / "w", {"window": 1.0}, 3)
    one.append(np.ones((5, 3), np.float32))
    one.close()
    assert WindowScores(tmp_path / "w", {"window": 1.0}, 3).count == 5
    assert WindowScores(tmp_path / "w", {"window": 2.0}, 3).count == 0


def test_what_does_not_fit_is_said_in_a_line(video, red_or_not, tmp_path):
    words = [video, "--pipe", PIPE, "--checkpoint", red_or_not]
    one_line(predict(*words, "--window", 2), 2, "--window: is of --segments")
    one_line(predict(*words, "--segments", tmp_path / "a.txt"), 2, "a.txt: must end in .json, .csv, .srt")
    one_line(predict(*words, "--segments", tmp_path / "a.json", "--smooth", 2), 2, "--smooth 2: must be odd")
    one_line(predict(*words, "--segments", tmp_path / "a.json", "--json"), 2, "leave --views and --json out")
    one_line(predict(video, *words, "--segments", tmp_path / "a.json"), 2, "must be a folder that exists")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    words[0] = tmp_path / "broken.mp4"
    one_line(predict(*words, "--segments", tmp_path / "a.json"), 2, "1 of 1 videos cannot be read, first")
