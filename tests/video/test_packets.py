"""Clip-wise reading gives the frames of full decoding, to the bit, and reads and decodes less."""

import io
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from media import decode_all, known

from c2d_fast.video import packets, reader
from c2d_fast.video.examine import examine
from c2d_fast.video.nal import read_picture
from c2d_fast.video.packets import entry_packets, from_table, needed_rows, packet_ranges
from c2d_fast.video.reader import DecodeError, decode_frames, read_clip

X264 = "keyint={}:min-keyint={}:scenecut=0:"
X265 = "log-level=none:keyint={}:min-keyint={}:scenecut=0:"
# name -> (encoder, ending, options, what the file lets us do: entries, packets that no other needs)
STRUCTURES = {
    "h264 one group": ("libx264", "mp4", {"bf": "3", "g": "250"}, 1, True),
    "h264 IBBP": ("libx264", "mp4", {"x264-params": X264.format(12, 12) + "bframes=2:b-adapt=0:b-pyramid=none"}, 5, True),
    "h264 pyramid": ("libx264", "mp4", {"x264-params": X264.format(16, 16) + "bframes=7:b-adapt=0:b-pyramid=normal"}, 4, True),
    "h264 P only": ("libx264", "mp4", {"x264-params": X264.format(12, 12) + "bframes=0"}, 5, False),
    "h264 open": ("libx264", "mp4", {"x264-params": X264.format(12, 12) + "open-gop=1:bframes=3:b-adapt=0"}, 1, True),
    "h264 open mkv": ("libx264", "mkv", {"x264-params": X264.format(12, 12) + "open-gop=1:bframes=3:b-adapt=0"}, 1, True),
    "h264 intra": ("libx264", "mp4", {"g": "1"}, 60, False),
    "h264 intra refresh": ("libx264", "mp4", {"x264-params": X264.format(12, 12) + "intra-refresh=1:bframes=0"}, 1, False),
    "h264 ts": ("libx264", "ts", {"x264-params": X264.format(12, 12) + "bframes=3:b-adapt=0"}, 5, True),
    "h264 slices": ("libx264", "mp4", {"x264-params": X264.format(12, 12) + "slices=4:bframes=3"}, 5, True),
    "h264 scene cuts": ("libx264", "mp4", {"x264-params": "keyint=20:min-keyint=2:scenecut=80:bframes=3"}, None, True),
    "h264 interlaced": ("libx264", "mp4", {"x264-params": X264.format(12, 12) + "tff=1:bframes=3"}, 0, None),
    "hevc closed": ("libx265", "mp4", {"x265-params": X265.format(12, 12) + "open-gop=0:bframes=3:b-adapt=0"}, 5, True),
    "hevc open": ("libx265", "mp4", {"x265-params": X265.format(12, 12) + "open-gop=1:bframes=4:b-adapt=0"}, 1, True),
    "hevc layers": (
        "libx265", "mkv", {"x265-params": X265.format(12, 12) + "open-gop=0:bframes=3:b-adapt=0:temporal-layers=1"}, 5, True,
    ),
    "hevc intra": ("libx265", "mp4", {"x265-params": X265.format(1, 1)}, 60, False),
    "vp9": ("libvpx-vp9", "webm", {"g": "12", "b": "400k", "auto-alt-ref": "0"}, 5, False),
    "vp9 hidden": ("libvpx-vp9", "webm", {"g": "30", "b": "200k", "auto-alt-ref": "1", "lag-in-frames": "16"}, 2, False),
    "vp8": ("libvpx", "webm", {"g": "12", "b": "400k", "auto-alt-ref": "0"}, None, False),
    "mpeg4 B": ("mpeg4", "avi", {"bf": "2", "g": "12", "q:v": "4"}, 1, True),
    "mpeg4 P": ("mpeg4", "avi", {"bf": "0", "g": "12", "q:v": "4"}, 5, False),
    "mpeg4 mp4": ("mpeg4", "mp4", {"bf": "2", "g": "12", "q:v": "4"}, 1, True),
    "mjpeg": ("mjpeg", "avi", {"q:v": "4"}, 60, False),
}  # fmt: skip
NUM_FRAMES = 60


def make(folder, name):
    """Encodes frames in which everything moves and nothing comes twice: a wrong reference picture shows everywhere."""
    encoder, ending, options, _, _ = STRUCTURES[name]
    path = folder / f"{name}.{ending}"
    rng = np.random.default_rng(0)
    field = rng.integers(0, 255, (25, 40, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25, options=options)
        stream.width, stream.height = 112, 80
        stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        for k in range(NUM_FRAMES):
            image = field[2 * k : 2 * k + 80, 3 * k : 3 * k + 112].astype(int) + rng.integers(-25, 25, (80, 112, 1))
            frame = av.VideoFrame.from_ndarray(np.clip(image, 0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module", params=STRUCTURES)
def structure(request, tmp_path_factory):
    path = make(tmp_path_factory.mktemp("stored"), request.param)
    return request.param, path, decode_all(path), examine(path, "full", locate=True)


def wishes(num_frames):
    rng = np.random.default_rng(1)
    yield from ([0], [num_frames - 1], [11, 12, 13], [12], [30, 2, 30, 59], list(range(num_frames)))
    for _ in range(6):
        yield (int(rng.integers(num_frames)) + int(rng.integers(1, 9)) * np.arange(5)) % num_frames


def test_what_files_allow(structure):
    name, _, frames, examined = structure
    entries, has_disposable = STRUCTURES[name][3:]
    assert examined.facts.frames == len(frames) == NUM_FRAMES
    if entries is not None:
        assert examined.facts.entries == entries
    else:
        assert examined.facts.entries > 3
    if has_disposable is not None:
        assert any(not packet.is_reference for packet in examined.packets) == has_disposable


@pytest.mark.parametrize("table", [True, False], ids=["table", "container"])
def test_frames_are_those_of_full_decoding(structure, table, monkeypatch):
    name, path, frames, examined = structure
    stored = known(examined, table)
    if examined.facts.entries:  # nothing is decoded the plain way behind our back
        monkeypatch.setattr(reader, "_decode_whole", None)
    if table and stored.entries and stored.codec in packets.TABLE_CODECS and path.suffix != ".ts":
        monkeypatch.setattr(reader, "open_video", None)
    for wanted in map(np.array, wishes(len(frames))):
        for threads in (1, 2) if len(wanted) < 5 else (1,):
            assert (decode_frames(path, wanted, threads, stored) == frames[wanted]).all(), (name, wanted)


@pytest.mark.parametrize("table", [True, False], ids=["table", "container"])
def test_small_files_hold_the_frames_of_full_decoding(structure, table):
    name, path, frames, examined = structure
    for wanted in map(np.array, wishes(len(frames))):
        data, numbers = read_clip(path, wanted, known(examined, table))
        assert numbers.dtype == np.int32
        with av.open(io.BytesIO(data.tobytes())) as container:
            images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert (np.stack(images)[numbers] == frames[wanted]).all(), (name, wanted)
        if examined.facts.entries > 20:
            assert len(images) == len(set(wanted.tolist())), "of intra frames nothing else is read"


def test_less_is_read_and_decoded(structure):
    name, _, _, examined = structure
    rows = known(examined, table=True).rows
    wanted = np.array([20, 28, 36])
    if not examined.facts.entries:
        return
    count = sum(map(len, needed_rows(rows, wanted)))
    assert count <= 37 + 1
    if STRUCTURES[name][4]:
        assert count < 37 - 5, "packets that no other needs are left out"
    if examined.facts.entries == 5:
        assert count <= 24 + 1


def test_a_frame_past_the_end_is_an_error(structure):
    _, path, _, examined = structure
    for table in (True, False):
        with pytest.raises(DecodeError, match="before frame 60"):
            decode_frames(path, np.array([3, 60]), 1, known(examined, table))


def make_h264(path, params, seed=0, count=16):
    """Encodes frames that have nothing in common, without B-frames; returns the file's bytes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": f"bframes=0:{params}"})
        stream.width, stream.height, stream.pix_fmt = 112, 80, "yuv420p"
        rng = np.random.default_rng(seed)
        for _ in range(count):
            image = rng.integers(0, 255, (10, 14, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


def test_parameter_sets_that_change_in_mid_file_make_later_entries_unsafe(tmp_path):
    """Two x264 streams of other settings behind each other, each with its parameter sets in its first packet only."""
    settings = ("cabac=1", "cabac=0:ref=1")
    parts = [make_h264(tmp_path / f"{n}.h264", f"keyint=8:min-keyint=8:{params}", seed=n) for n, params in enumerate(settings)]
    (tmp_path / "both.h264").write_bytes(b"".join(parts))
    path = tmp_path / "both.ts"
    with av.open(str(tmp_path / "both.h264")) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux(video=0) if p.size):
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            target.mux(packet)
    examined, frames = examine(path, "full", locate=True), decode_all(path)
    assert (examined.facts.frames, examined.facts.entries) == (32, 1)
    for wanted in map(np.array, ([31], [8], [20, 3])):
        for table in (True, False):
            assert (decode_frames(path, wanted, 1, known(examined, table)) == frames[wanted]).all()


def flv_tags(data):
    """Yields an FLV file's video tags: (milliseconds, body)."""
    at = 13  # after the header
    while at < len(data):
        size, time = (int.from_bytes(data[at + k : at + k + 3], "big") for k in (1, 4))
        body = data[at + 11 : at + 11 + size]
        if data[at] == 9 and body[1] != 2:  # not the end mark
            yield time, body
        at += 11 + size + 4


def test_a_container_that_sets_the_decoder_up_anew_is_read_whole(tmp_path):
    """FLV whose second half has another configuration, which reaches a decoder beside a packet and not in it."""
    parts = [make_h264(tmp_path / f"{n}.flv", f"keyint=8:scenecut=0:crf={crf}", seed=n) for n, crf in enumerate((18, 36))]
    joined = parts[0][:13]
    for number, part in enumerate(parts):
        for time, body in flv_tags(part):
            head = b"\x09" + len(body).to_bytes(3, "big") + (time + 1000 * number).to_bytes(3, "big") + bytes(4)
            joined += head + body + (len(head) + len(body)).to_bytes(4, "big")
    path = tmp_path / "both.flv"
    path.write_bytes(joined)
    frames, examined = decode_all(path), examine(path, "full", locate=True)
    assert (len(frames), examined.facts.frames, examined.facts.entries) == (32, 32, 0)
    for wanted in map(np.array, ([31], [24, 3], [17])):
        for table in (True, False):
            assert (decode_frames(path, wanted, 1, known(examined, table)) == frames[wanted]).all()


def test_lossless_h264_is_decoded_from_its_beginning(tmp_path):
    path = tmp_path / "lossless.mp4"
    make_h264(path, "qp=0:keyint=4:8x8dct=1", count=12)
    examined = examine(path, "full", locate=True)
    assert examined.facts.key_frames > 1
    assert (examined.facts.entries, examined.facts.closed_gops) == (1, False)
    frames = decode_all(path)
    assert (decode_frames(path, np.array([9, 2]), 1, known(examined, table=True)) == frames[[9, 2]]).all()


def test_film_grain_makes_later_entries_unsafe():
    idr, grain = b"\0\0\0\x02\x65\x88", b"\0\0\0\x03\x06\x13\x00"
    assert read_picture("h264", memoryview(grain + idr), 4).has_grain
    assert not read_picture("h264", memoryview(b"\0\0\0\x03\x06\x05\x00" + idr), 4).has_grain
    assert read_picture("h264", memoryview(idr), 4).is_entry


@pytest.mark.parametrize("name", ["arm_wrestling.mp4", "clip_300.mp4", "mpeg4_164.avi"])
def test_real_clips(shared, name):
    path = shared / "videos" / name
    frames, examined = decode_all(path), examine(path, "full", locate=True)
    rng = np.random.default_rng(0)
    for first in rng.integers(0, len(frames), 10):
        wanted = (first + 8 * np.arange(8)) % len(frames)
        for table in (True, False):
            assert (decode_frames(path, wanted, 1, known(examined, table)) == frames[wanted]).all()


def test_colours_that_only_the_container_tells_are_kept(tmp_path):
    """A decoder without its container must be told: here mp4's colr box says BT.709 and full range, and H.264 nothing."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 112, 80, "yuv420p"
        image = np.random.default_rng(0).integers(0, 255, (10, 14, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        encoded = [p for _ in range(5) for p in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24"))]
        container.mux([*encoded, *stream.encode()])
    tagged = tmp_path / "b.mp4"
    with av.open(str(path)) as source, av.open(str(tagged), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 2
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    for file in (path, tagged):
        examined, frames = examine(file, "full", locate=True), decode_all(file)
        assert (decode_frames(file, np.array([1, 3]), 1, known(examined, table=True)) == frames[[1, 3]]).all()


def test_entries_part_what_is_shown_before_from_what_is_shown_after():
    shown = np.array([0, 3, 1, 2, 4, 6, 5, 7, 10, 8, 9])
    flags = np.array([1, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0], bool)
    assert entry_packets(shown, flags).tolist() == [0, 4, 7]  # what follows packet 8 is shown before it
    assert entry_packets(shown, np.zeros(11, bool)).tolist() == [0]
    assert packet_ranges(np.array([0, 4, 7]), np.array([8, 1, 2])) == [(0, 3), (7, 9)]


def test_places_close_together_are_read_in_one_request(tmp_path, monkeypatch):
    data = np.random.default_rng(0).bytes(200_000)
    (tmp_path / "a").write_bytes(data)
    sizes = np.array([100, 50, 7, 3000, 1])
    positions = np.array([10, 500, 90_000, 90_007, 20])
    requests = []
    pread = packets.os.pread
    monkeypatch.setattr(packets.os, "pread", lambda *args: requests.append(args) or pread(*args))
    parts = packets._read(tmp_path / "a", positions, sizes)
    assert parts == [data[at : at + size] for at, size in zip(positions.tolist(), sizes.tolist(), strict=True)]
    assert [(size, at) for _, size, at in requests] == [(540, 10), (3007, 90_000), (1, 20)]
    assert all(a[1] > 0 for a, _ in pairwise(requests))


def test_no_more_bytes_are_read_than_the_packets_have(tmp_path, monkeypatch):
    path = make(tmp_path, "h264 intra")
    stored, count = known(examine(path, "full", locate=True), table=True), []
    pread = packets.os.pread
    monkeypatch.setattr(packets, "_READ_TOGETHER", 0)
    monkeypatch.setattr(packets.os, "pread", lambda *args: count.append(args[1]) or pread(*args))
    wanted = np.array([0, 20, 40])
    (groups,) = [from_table(path, stored, wanted)]
    assert sum(count) == sum(packet.size for group in groups for packet in group) < path.stat().st_size / 8
