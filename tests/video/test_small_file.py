"""A clip's packets as a Matroska file of our own: the frames of full decoding, and of coded size where cropping is cleared."""

import dataclasses
import io

import av
import numpy as np
import pytest
from loaders import CROP, PIPE, dataset, options, reference_crop
from media import CODECS, WholeFrames, decode_all, known, make_video

from c2d_fast.loading.decode import decode_files
from c2d_fast.loading.loader import EvalLoader
from c2d_fast.recipe import Clip
from c2d_fast.video import packets, reader
from c2d_fast.video.examine import examine
from c2d_fast.video.nal import length_size, unit_ranges
from c2d_fast.video.packets import WHOLE, read_rows, table_rows
from c2d_fast.video.parameter_sets import (
    is_sequence,
    parameter_set_ranges,
    read_sequence,
    without_cropping,
    without_intra_profile,
)
from c2d_fast.video.reader import DecodeError, read_clip
from c2d_fast.video.small_file import small_file

X265 = "log-level=none:keyint=12:min-keyint=12:scenecut=0"
SIZES = ((340, 256), (338, 254), (256, 340), (352, 288), (160, 96), (174, 146), (150, 150))
STREAMS = {
    "h264": ("h264", {"g": "12"}),
    "h264 lists": ("h264", {"x264-params": "keyint=12:cqm=jvt:bframes=2:vui=1"}),
    "h264 baseline": ("h264", {"profile": "baseline", "bf": "0", "g": "12"}),
    "h264 intra": ("h264", {"g": "1", "bf": "0"}),
    "h264 sets in packets": ("h264", {"x264-params": "keyint=12:repeat-headers=1"}),
    "h264 timing": ("h264", {"x264-params": "keyint=12:nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900:force-cfr=1"}),
    "hevc": ("hevc", {"x265-params": X265}),
    "hevc intra": ("hevc", {"x265-params": "log-level=none:keyint=1"}),
    "hevc layers": ("hevc", {"x265-params": X265 + ":temporal-layers=3:bframes=4:b-adapt=0"}),
    "hevc small units": ("hevc", {"x265-params": X265 + ":ctu=16:min-cu-size=8:colorprim=bt709:repeat-headers=1"}),
}
WANTED = np.array([20, 3, 11, 12, 35, 11])


def images(data):
    with av.open(io.BytesIO(data.tobytes())) as container:
        return [frame.to_ndarray(format="yuv420p") for frame in container.decode(video=0)], container.streams.video[0]


def planes(image, height, width):
    """Parts a yuv420p picture into luma and the two of chroma."""
    luma, rest = image[:height], image[height:].reshape(2, -1, width // 2) if width % 2 == 0 else None
    return luma, rest


def whole(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="yuv420p") for frame in container.decode(video=0)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "{}x{}".format(*size))
@pytest.mark.parametrize("name", STREAMS)
def test_cleared_cropping_leaves_the_shown_pixels_as_they_are(tmp_path, monkeypatch, name, size):
    codec, options = STREAMS[name]
    width, height = size
    path = make_video(tmp_path / "a.mp4", codec, 40, width, height, **options)
    examined, frames = examine(path, "full", locate=True), whole(path)
    stored = known(examined, table=True)
    monkeypatch.setattr(reader, "open_video", None)  # nothing of the container is needed
    unit = 16 if codec == "h264" else 8
    coded_width, coded_height = -(-width // unit) * unit, -(-height // unit) * unit
    for clears in (False, True):
        data, numbers = read_clip(path, WANTED, stored, clear_cropping=clears)
        decoded, _ = images(data)
        shape = (coded_height, coded_width) if clears else (height, width)
        for number, at in zip(WANTED, numbers, strict=True):
            luma, chroma = planes(decoded[at], *shape)
            expected, colours = planes(frames[number], height, width)
            assert luma.shape == shape
            assert (luma[:height, :width] == expected).all()
            assert (chroma[:, : height // 2, : width // 2] == colours).all()


@pytest.mark.parametrize("headers", [0, 1], ids=["in the file", "in packets"])
@pytest.mark.parametrize("size", [(336, 256), (340, 256)], ids=["uncropped", "cropped"])
def test_key_frames_only_is_not_told_to_nvdec(tmp_path, size, headers):
    """DALI 2.4 on an H100 failed with "invalid argument" on each H.264 file of the profile, and on none without its flag."""
    path = make_video(tmp_path / "a.mp4", "h264", 40, *size, **{"x264-params": f"keyint=1:repeat-headers={headers}"})
    stored = known(examine(path, "full", locate=True), table=True)
    sets, pictures = {}, {}
    for clears in (False, True):
        data, _ = read_clip(path, WANTED, stored, clear_cropping=clears)
        decoded, stream = images(data)
        pictures[clears] = [image[: size[1], : size[0]] for image in decoded]  # luma
        extradata = bytes(stream.codec_context.extradata)
        units = [extradata[start:end] for start, end in parameter_set_ranges("h264", extradata)]
        for packet in packets_of(data):
            units += [packet[a:b] for a, b in unit_ranges(memoryview(packet), 4) if is_sequence("h264", packet[a])]
        sets[clears] = {bytes(unit) for unit in units}
        assert all(read_sequence("h264", unit).is_intra_profile != clears for unit in sets[clears])
        assert len(units) == 1 + len(pictures[clears]) * headers
    assert all((one == other).all() for one, other in zip(*pictures.values(), strict=True))
    if size == (336, 256):  # all else is as it was
        (before,), (after,) = sets.values()
        assert after == before[:2] + bytes([before[2] - 0x10]) + before[3:]


def packets_of(data):
    with av.open(io.BytesIO(data.tobytes())) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_the_promise_is_taken_from_profiles_that_have_it_alone():
    unit = read_set(profile=100)
    assert without_intra_profile("h264", unit)[2] == 0
    # With Baseline the same bit stands for level 1b, and HEVC has another header.
    assert without_intra_profile("h264", read_set(profile=66)) == read_set(profile=66)
    assert without_intra_profile("hevc", unit) == unit


def read_set(profile):
    return bytes([0x67, profile, 0x10, 11, 0xAC, 0xB8])


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("size", SIZES)
def test_a_set_says_the_size_and_is_otherwise_left_alone(tmp_path, codec, size):
    path = make_video(tmp_path / "a.mp4", codec, 3, *size)
    with av.open(str(path)) as container:
        extradata = container.streams.video[0].codec_context.extradata
    ((start, end),) = parameter_set_ranges(codec, extradata)
    unit = extradata[start:end]
    sequence = read_sequence(codec, unit)
    assert sequence.shown_size == size
    assert not sequence.may_have_fields
    cleared = read_sequence(codec, without_cropping(codec, unit))
    assert cleared == dataclasses.replace(sequence, left=0, right=0, top=0, bottom=0)
    assert without_cropping(codec, without_cropping(codec, unit)) == without_cropping(codec, unit)
    if not (sequence.right or sequence.bottom):
        assert without_cropping(codec, unit) == unit
    for cut in range(1, 9):
        with pytest.raises(ValueError, match="parameter set"):
            read_sequence(codec, unit[:cut])


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp8", "vp9", "mjpeg"])
def test_the_same_frames_come_out_of_ffmpeg_s_muxer(tmp_path, monkeypatch, codec):
    path = make_video(tmp_path / f"a.{CODECS[codec][1]}", codec, 40, 150, 98, **{"auto-alt-ref": "0"} if "vp" in codec else {})
    stored = known(examine(path, "full", locate=True), table=True)
    ours, numbers = read_clip(path, WANTED, stored)
    monkeypatch.setattr(reader, "small_file", lambda *args, **kwargs: None)
    theirs, their_numbers = read_clip(path, WANTED, stored)
    assert ours.tobytes() != theirs.tobytes()
    assert numbers.tolist() == their_numbers.tolist()
    assert np.array_equal(*(np.stack(images(data)[0]) for data in (ours, theirs)))


@pytest.mark.parametrize("codec", ["vp8", "vp9", "mjpeg"])
def test_dali_decodes_the_same_from_both(tmp_path, monkeypatch, codec):
    path = make_video(tmp_path / f"a.{CODECS[codec][1]}", codec, 40, 150, 98, **{"auto-alt-ref": "0"} if "vp" in codec else {})
    stored = known(examine(path, "full", locate=True), table=True)
    ours = decode_files([read_clip(path, WANTED, stored)], "dali", threads=1, device_id=None)[0]
    monkeypatch.setattr(reader, "small_file", lambda *args, **kwargs: None)
    theirs = decode_files([read_clip(path, WANTED, stored)], "dali", threads=1, device_id=None)[0]
    assert ours.shape == (len(WANTED), 98, 150, 3)
    assert np.array_equal(ours, theirs)


def test_padding_is_cut_off_before_anything_else_is_done(tmp_path):
    """Frames that decode to more than is shown, as where cropping was cleared: nothing of the rest reaches a crop."""
    bad = dataset(tmp_path, codec="vp9", count=2, sizes=((160, 96),))
    videos = bad.manifest.videos()
    shown = dataclasses.replace(videos, width=np.full(2, 150), height=np.full(2, 84))
    plan = WholeFrames(videos=shown, clip=Clip(num_frames=2, interval=3), crop=CROP, batch_size=2)
    # Read whole: a small file's header would say the size that is made up here.
    how = dataclasses.replace(options("dali"), whole_files=True)
    (batch,) = EvalLoader(PIPE.eval_pipe, plan, how, bad, views_per_batch=2).views()
    as_it_is = dataclasses.replace(how, clear_cropping=False)
    (other,) = EvalLoader(PIPE.eval_pipe, plan, as_it_is, bad, views_per_batch=2).views()
    for i in range(2):
        file = read_clip(bad.manifest.listing.file(i), plan.views(i)[0].frames, WHOLE)
        (frames,) = decode_files([file], "dali", threads=1, device_id=None)
        for clip, (width, height) in ((batch.clip[i], (150, 84)), (other.clip[i], (160, 96))):
            expected = reference_crop(frames[:, :height, :width], (0, 0, 1, 1), CROP.size)
            assert abs(clip.numpy() - expected).max() <= 1


def test_what_is_cropped_at_the_left_or_the_top_is_not_cleared(tmp_path):
    path = make_video(tmp_path / "a.mp4", "h264", 20, 160, 96, g="1", **{"x264-params": "crop-rect=64,8,0,0"})
    stored = known(examine(path, "full", locate=True), table=True)
    assert (stored.width, stored.height, stored.is_cropped) == (96, 88, True)
    data, numbers = read_clip(path, np.array([4, 9]), stored)
    decoded, _ = images(data)
    frames = whole(path)
    assert all((decoded[at] == frames[number]).all() for number, at in zip((4, 9), numbers, strict=True))
    for known_how in (stored, dataclasses.replace(stored, rows=None)):
        with pytest.raises(DecodeError, match="is cropped in a way that cannot be cleared"):
            read_clip(path, np.array([4, 9]), known_how, clear_cropping=True)


def test_sizes_that_change_in_the_packets_are_left_to_ffmpeg(tmp_path):
    path = make_video(tmp_path / "a.mp4", "h264", 20, 150, 98, **{"x264-params": "keyint=1:repeat-headers=1"})
    other = make_video(tmp_path / "b.mp4", "h264", 20, 340, 256, **{"x264-params": "keyint=1:repeat-headers=1"})
    stored, another = (known(examine(p, "full", locate=True), table=True) for p in (path, other))
    (rows,) = table_rows(stored, np.array([3]))[:1]
    data = read_rows(other, table_rows(another, np.array([3]))[0])
    sets = [data[0][a:b] for a, b in unit_ranges(memoryview(data[0]), length_size("h264", another.extradata))]
    assert any(is_sequence("h264", unit[0]) for unit in sets)
    for clears in (True, False):
        assert small_file("h264", stored.extradata, (0, 0), data, rows, clear_cropping=clears) is None


def test_what_cannot_be_written_is_left_to_ffmpeg(tmp_path, monkeypatch):
    assert small_file("av1", b"", (64, 64), [b"x"], np.zeros(1, packets.DTYPE), clear_cropping=False) is None
    assert small_file("vp9", b"", (0, 0), [b"x"], np.zeros(1, packets.DTYPE), clear_cropping=False) is None
    assert small_file("h264", b"\1\x64\0", (64, 64), [b"x"], np.zeros(1, packets.DTYPE), clear_cropping=True) is None
    path = make_video(tmp_path / "a.avi", "h264", 20, 150, 98, g="1", bf="0")  # units are parted by start codes
    stored = known(examine(path, "full", locate=True), table=True)
    data, numbers = read_clip(path, np.array([4, 9]), stored)
    decoded, _ = images(data)
    assert (decoded[numbers[1]] == whole(path)[9]).all()
    with pytest.raises(DecodeError, match="is cropped in a way that cannot be cleared"):
        read_clip(path, np.array([4, 9]), stored, clear_cropping=True)


def test_mpeg4_is_never_handed_over_whole(tmp_path):
    path = make_video(tmp_path / "a.avi", "mpeg4", 20)
    stored = known(examine(path, "full"))
    assert stored.entries
    read_clip(path, np.array([4, 9]), stored)
    for unknown in (dataclasses.replace(stored, entries=0),):
        with pytest.raises(DecodeError, match="cannot be cut"):
            read_clip(path, np.array([4, 9]), unknown)
    with pytest.raises(DecodeError, match="cannot be cut"):
        read_clip(path, np.array([4, 90]), stored)


def test_cropping_is_cleared_without_a_table_too(tmp_path):
    """A session of NVDEC's that was made for cleared frames must never be given frames of the same size that are not."""
    path = make_video(tmp_path / "a.mp4", "h264", 30, 150, 98)
    examined = examine(path, "full", locate=True)
    assert known(examined).is_cropped
    by_table, without = (read_clip(path, WANTED % 30, known(examined, table), clear_cropping=True) for table in (True, False))
    assert by_table[0].tobytes() == without[0].tobytes()
    assert by_table[1].tolist() == without[1].tolist()
    with pytest.raises(DecodeError, match="is cropped in a way"):
        read_clip(path, np.array([3]), dataclasses.replace(known(examined), entries=0), clear_cropping=True)


def broken(data, rng):
    """Yields damaged copies."""
    for _ in range(150):
        copy = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            copy[int(rng.integers(len(copy)))] = int(rng.integers(256))
        yield bytes(copy[: int(rng.integers(1, len(copy) + 1))])


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_damaged_headers_are_refused_and_nothing_else(tmp_path, codec):
    path = make_video(tmp_path / "a.mp4", codec, 12, 150, 150, **{"x264-params": "repeat-headers=1"} if codec == "h264" else {})
    stored = known(examine(path, "full", locate=True), table=True)
    (rows,) = table_rows(stored, np.array([5]))
    packets, rng = read_rows(path, rows), np.random.default_rng(0)
    for extradata in broken(stored.extradata, rng):
        small_file(codec, extradata, (150, 150), packets, rows, clear_cropping=True)
    for packet in broken(packets[0], rng):
        small_file(codec, stored.extradata, (150, 150), [packet, *packets[1:]], rows, clear_cropping=True)


def test_a_set_with_an_endless_cycle_is_refused_at_once():
    # Order of pictures (kind 1) by a cycle of 2**20 numbers, for which there are bits enough.
    head = "1" + "1" + "010" + "0" + "1" + "1" + "0" * 20 + "1" + "0" * 19 + "1"
    data = int(head + "1" * (-len(head) % 8), 2).to_bytes(-(-len(head) // 8), "big")
    with pytest.raises(ValueError, match="too large"):
        read_sequence("h264", bytes.fromhex("6742001e") + data + b"\xff" * 200_000)


@pytest.mark.parametrize("params", ["tff=1", "bff=1"])
def test_interlaced_files_are_told(tmp_path, params):
    path = make_video(tmp_path / "a.mp4", "h264", 20, **{"x264-params": params})
    facts = examine(path).facts
    assert (facts.interlaced, facts.entries, facts.frames) == (True, 0, len(decode_all(path)))
    assert not examine(make_video(tmp_path / "b.mp4", "h264", 20)).facts.interlaced


def test_frames_that_only_might_be_fields_are_no_fields(tmp_path):
    path = make_video(tmp_path / "a.mp4", "h264", 40, **{"x264-params": "fake-interlaced=1:keyint=10:scenecut=0"})
    examined = examine(path, "full", locate=True)
    assert not examined.facts.interlaced
    assert examined.facts.entries > 1
    frames = decode_all(path)
    assert (reader.decode_frames(path, WANTED, 1, known(examined, table=True)) == frames[WANTED]).all()


def test_fields_in_hevc_are_interlaced(tmp_path):
    path = make_video(tmp_path / "a.mp4", "hevc", 20, 176, 144, **{"x265-params": "log-level=none:interlace=tff"})
    assert examine(path).facts.interlaced
