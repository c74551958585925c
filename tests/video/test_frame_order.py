"""Frames are numbered as a full decode puts them out, whatever a container's timestamps say, and without a full scan."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media import decode_all, known, make_video
from runs import ROOT

from c2d_fast.formats.manifest_file import read_manifest_file
from c2d_fast.video import decoded_order as module
from c2d_fast.video.decoded_order import decoded_order, gives_order
from c2d_fast.video.examine import examine
from c2d_fast.video.picture_order import PictureOrder
from c2d_fast.video.reader import decode_frames, read_clip

X264 = "keyint=12:min-keyint=12:scenecut=0:"
X265 = "log-level=none:keyint=12:min-keyint=12:scenecut=0:"
STRUCTURES = {
    "h264 P": ("h264", {"x264-params": X264 + "bframes=0"}),
    "h264 B": ("h264", {"x264-params": X264 + "bframes=2:b-adapt=0:b-pyramid=none"}),
    "h264 pyramid": ("h264", {"x264-params": X264 + "bframes=7:b-adapt=0:b-pyramid=normal"}),
    "h264 open": ("h264", {"x264-params": X264 + "open-gop=1:bframes=3:b-adapt=0"}),
    "hevc P": ("hevc", {"x265-params": X265 + "bframes=0"}),
    "hevc B": ("hevc", {"x265-params": X265 + "bframes=4:b-adapt=0"}),
    "hevc open": ("hevc", {"x265-params": X265 + "open-gop=1:bframes=4:b-adapt=0"}),
    "h264 intra": ("h264", {"g": "1"}),
    "hevc intra": ("hevc", {"x265-params": "log-level=none:keyint=1"}),
    "mpeg4 P": ("mpeg4", {"bf": "0", "g": "12", "q:v": "2"}),
    "mpeg4 B": ("mpeg4", {"bf": "2", "g": "12", "q:v": "2"}),
    "mpeg2 P": ("mpeg2video", {"bf": "0", "g": "12", "q:v": "2"}),
    "mpeg2 B": ("mpeg2video", {"bf": "2", "g": "12", "q:v": "2"}),
    "vp8 P": ("vp8", {"g": "12", "auto-alt-ref": "0"}),
    "vp9 P": ("vp9", {"g": "12", "auto-alt-ref": "0"}),
    "vp9 hidden": ("vp9", {"g": "20", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    "av1 hidden": ("av1", {"g": "16", "preset": "12"}),
    "mjpeg intra": ("mjpeg", {}),
}
# Container -> what it may hold. Of timestamps there are those that are right, decoding times in their place, or none (AVI).
CONTAINERS = {
    "mp4": ("h264", "hevc", "mpeg4", "mpeg2", "vp9", "av1", "mjpeg"),
    "mov": ("h264", "hevc", "mpeg4", "mpeg2", "mjpeg"),
    "mkv": ("h264", "hevc", "mpeg4", "mpeg2", "vp8", "vp9", "av1", "mjpeg"),
    "webm": ("vp8", "vp9", "av1"),
    "ts": ("h264", "hevc", "mpeg2"),
    "flv": ("h264",),
    "avi": ("h264", "mpeg4", "mpeg2", "mjpeg", "vp8"),
    "mpg": ("mpeg2",),
}
NUM_FRAMES = 40


def store(folder, name, container, times):
    """Encodes a structure and stores it anew: as it is, without times of showing, or with decoding times in their place."""
    codec, options = STRUCTURES[name]
    # AVI has no times of showing in any case.
    if container in ("avi", "mpg"):
        return make_video(folder / f"stored.{container}", codec, NUM_FRAMES, 160, 96, **options)
    encoded = make_video(folder / "encoded.mkv", codec, NUM_FRAMES, 160, 96, **options)
    path = folder / f"stored.{container}"
    with av.open(str(encoded)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        for number, packet in enumerate(p for p in source.demux(video=0) if p.size):
            packet.stream = stream
            if times != "right":
                packet.time_base, packet.pts, packet.dts = Fraction(1, 25), number, number
            target.mux(packet)
    return path


def cases():
    for name in STRUCTURES:
        codec, _, kind = name.partition(" ")
        for container in (container for container, codecs in CONTAINERS.items() if codec in codecs):
            if container in ("avi", "mpg"):
                yield name, container, "none" if container == "avi" else "right"
                continue
            yield name, container, "right"
            # Where pictures are shown as they are stored both are the same.
            if kind not in ("intra", "P", "hidden"):
                yield name, container, "decoding"


CASES = [*cases()]
ALWAYS = {("h264", "mp4"), ("h264", "mkv"), ("h264", "ts"), ("h264", "avi"), ("hevc", "mkv"), ("mpeg4", "avi"), ("vp9", "webm")}
"""The others are slow tests: codec and container."""


def param(name, container, times):
    marks = [] if (name.partition(" ")[0], container) in ALWAYS else [pytest.mark.slow]
    return pytest.param(name, container, times, marks=marks)


@pytest.mark.parametrize(("name", "container", "times"), [param(*case) for case in CASES], ids=lambda value: value)
def test_frames_are_those_of_full_decoding(tmp_path, name, container, times):
    path = store(tmp_path, name, container, times)
    frames = decode_all(path)
    for depth in ("packets", "keyframes", "full"):
        examined = examine(path, depth, locate=True)
        assert examined.facts.frames == len(frames), depth
        if times == "right" and name.startswith(("h264", "hevc")):
            assert examined.facts.in_order, "what is right is read clip by clip"
        for wanted in (np.array([0, 8, 16, 24]), np.array([5, 6, 7]), np.array([len(frames) - 1, 13])):
            for table in (True, False):
                stored = known(examined, table)
                assert (decode_frames(path, wanted, 1, stored) == frames[wanted]).all(), (depth, table, wanted)
                if examined.facts.in_order:
                    data, numbers = read_clip(path, wanted, stored)
                    with av.open(io.BytesIO(data.tobytes())) as small:
                        images = [frame.to_ndarray(format="rgb24") for frame in small.decode(video=0)]
                    assert (np.stack(images)[numbers] == frames[wanted]).all(), (depth, table, wanted)


def page():
    """The table of docs/containers.md."""
    rows = ["| | " + " | ".join(CONTAINERS) + " |", "|---|" + "---|" * len(CONTAINERS)]
    for name in STRUCTURES:
        tried = {c: [t for n, c_, t in CASES if (n, c_) == (name, c)] for c in CONTAINERS}
        rows.append(f"| {name} | " + " | ".join(", ".join(tried[c]) for c in CONTAINERS) + " |")
    return "\n".join(rows)


def test_the_page_says_what_was_tried():
    assert page() in (ROOT / "docs" / "containers.md").read_text()


@pytest.mark.slow
def test_transcoded_files_have_the_frames_in_their_order(tmp_path, run_command):
    stored = {case: store(tmp_path / "in" / " ".join(case), *case) for case in CASES}
    names = {case: path.relative_to(tmp_path / "in") for case, path in stored.items()}
    (tmp_path / "list.txt").write_text("".join(f"{name} 0\n" for name in names.values()))
    done = run_command("prepare", "transcode", "--list", tmp_path / "list.txt", "--data-root", tmp_path / "in",
                       "--out", tmp_path / "out", "--crf", 8)  # fmt: skip
    assert done.returncode == 0, done.stderr
    manifest = read_manifest_file(tmp_path / "out" / "list.npz")
    assert not any(manifest.reasons)
    for video, path in zip(manifest.videos, stored.values(), strict=True):
        frames, coded = decode_all(path).astype(int), decode_all(Path(manifest.root) / video).astype(int)
        assert coded.shape == frames.shape, video
        assert [int(np.abs(frames - image).mean((1, 2, 3)).argmin()) for image in coded] == list(range(len(frames))), video


def test_the_case_that_was_found(shared):
    path = shared / "cases" / "wrong_order" / "h264_no_pts.avi"
    frames = decode_all(path)
    examined = examine(path)
    assert not examined.facts.in_order
    assert (decode_frames(path, np.arange(40), 1, known(examined)) == frames).all()


def headers(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        order = PictureOrder(stream.codec_context.name, stream.codec_context.extradata)
        times = []
        for packet in container.demux(stream):
            if packet.size:
                order.add(memoryview(packet))
                times.append(packet.pts)
    return order, np.argsort(np.argsort(times))


@pytest.mark.parametrize("name", [name for name in STRUCTURES if name.startswith(("h264", "hevc"))])
@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
def test_headers_give_the_order(tmp_path, name, container):
    order, by_time = headers(store(tmp_path, name, container, "right"))
    assert order.shown().tolist() == by_time.tolist()
    assert not order.has_fields


@pytest.mark.parametrize("params", ["tff=1:bframes=0", "fake-interlaced=1", "slices=4:bframes=3"])
def test_headers_of_other_kinds_of_frames(tmp_path, params):
    order, by_time = headers(make_video(tmp_path / "a.mp4", "h264", 30, 160, 96, **{"x264-params": params}))
    assert not order.has_fields
    assert order.shown().tolist() == by_time.tolist()


def test_orders_that_wrap_are_followed(tmp_path):
    # Last bits of the order's numbers start anew every 16 to 64 pictures or so: one group is longer than that.
    for codec, options in (("h264", {"g": "400", "bf": "3"}), ("hevc", {"x265-params": "log-level=none:keyint=400:bframes=4"})):
        order, by_time = headers(make_video(tmp_path / f"{codec}.mp4", codec, 300, 144, 144, **options))
        assert order.shown().tolist() == by_time.tolist()


def test_headers_that_are_not_understood_tell_nothing():
    for codec in ("h264", "hevc"):
        for extradata in (None, b"", b"\1\x64\0\x0a\xff\xe1\0\x08gd", b"\1" * 40):
            order = PictureOrder(codec, extradata)
            order.add(memoryview(b"\0\0\0\2\x65\x88"))
            order.add(memoryview(b"no video"))
            assert order.shown() is None


def test_only_the_first_pictures_are_decoded_where_headers_and_times_agree(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "decoded_order", lambda path, tick, most: asked.append(most) or decoded_order(path, tick, most))
    assert examine(store(tmp_path, "h264 B", "mkv", "right")).facts.in_order
    assert examine(store(tmp_path, "h264 P", "mkv", "right")).facts.in_order  # nothing to compare
    assert not examine(store(tmp_path, "h264 B", "mkv", "decoding")).facts.in_order  # nor here
    assert asked == [module._FIRST]


def test_where_headers_do_not_tell_all_is_decoded(tmp_path):
    right = store(tmp_path, "h264 B", "mkv", "right")
    with av.open(str(right)) as container:
        times = np.array([packet.pts for packet in container.demux(video=0) if packet.size])
    assert gives_order(right, times, None)
    assert not gives_order(right, np.arange(NUM_FRAMES), None)
    assert len(decoded_order(right)) == NUM_FRAMES
    assert len(decoded_order(right, most=10)) == 10
