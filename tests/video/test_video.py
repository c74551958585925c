import os
from pathlib import Path

import av
import numpy as np
import pytest
from media import CODECS, decode_all, known, make_video, read_number

from c2d_fast.video.examine import examine
from c2d_fast.video.reader import DecodeError, decode_frames


@pytest.mark.parametrize("codec", CODECS)
def test_decodes_exactly_the_frames_asked_for(tmp_path, codec):
    path = make_video(tmp_path / f"clip.{CODECS[codec][1]}", codec, num_frames=40)
    everything = decode_all(path)
    assert [read_number(frame) for frame in everything] == list(range(40))
    wanted = np.array([39, 0, 8, 8, 17, 3])
    frames = decode_frames(path, wanted)
    assert frames.dtype == np.uint8
    assert (frames == everything[wanted]).all()
    info = examine(path).facts
    assert (info.frames, info.width, info.height, info.codec) == (40, 160, 96, codec)
    assert info.in_order
    assert info.matrix != 1


@pytest.mark.parametrize("name", ["arm_wrestling.mp4", "clip_300.mp4", "mpeg4_164.avi"])
@pytest.mark.parametrize("threads", [1, 2])
def test_real_clips_are_numbered_by_decoding_order(shared, name, threads):
    path = shared / "videos" / name
    everything = decode_all(path)
    info = examine(path).facts
    assert (info.frames, info.height, info.width) == everything.shape[:3]
    assert info.in_order == (name != "mpeg4_164.avi")  # whose timestamps are in another order than its frames
    wanted = np.array([0, 3, 2, 100, info.frames - 1])
    assert (decode_frames(path, wanted, threads) == everything[wanted]).all()
    assert info.closed_gops == (name != "mpeg4_164.avi")
    if info.closed_gops:
        rng = np.random.default_rng(0)
        for wanted in [np.arange(info.frames), *rng.integers(0, info.frames, (5, 4))]:
            assert (decode_frames(path, wanted, threads, known(examine(path))) == everything[wanted]).all()


def test_validation_clip_is_the_reference_s(shared):
    from c2d_fast.loading import sampler

    frames = decode_frames(shared / "videos" / "clip_300.mp4", sampler.val_frames(300, 8, 8))
    x0, y0, x1, y1 = sampler.centre_box(340, 256, 224)
    clip = np.load(shared / "golden" / "clip_300_val.npz")["clip"]
    assert (frames[:, y0:y1, x0:x1].transpose(3, 0, 1, 2) == clip).all()


def test_counts_shown_frames_where_packets_are_not_frames(tmp_path):
    # VP8's alternate reference frames are packets that show nothing.
    path = make_video(tmp_path / "a.webm", "vp8", 60, **{"auto-alt-ref": "1", "lag-in-frames": "16", "b": "80k"})
    with av.open(str(path)) as container:
        packets = sum(bool(packet.size) for packet in container.demux(video=0))
    info = examine(path).facts
    assert info.frames == 60
    assert info.in_order == (packets == 60)


def test_a_file_cut_short_has_only_the_frames_that_are_there(tmp_path):
    whole = make_video(tmp_path / "whole.mp4", num_frames=60, movflags="faststart", g="10")
    with av.open(str(whole)) as container:  # Matroska needs no index at the end: a cut file opens
        cut = tmp_path / "cut.mkv"
        with av.open(str(cut), "w") as output:
            stream = output.add_stream_from_template(container.streams.video[0])
            for packet in container.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    info = examine(cut).facts
    assert 0 < info.frames < 60
    decode_frames(cut, np.arange(info.frames - 2))


def remux(source, target, keep):
    """Copies the packets that keep(index, packet) wants into another container."""
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(container.streams.video[0])
        packets = [packet for packet in container.demux(video=0) if packet.dts is not None]
        for index, packet in enumerate(packets):
            if keep(index, packet):
                packet.stream = stream
                output.mux(packet)
    return target


def test_frames_before_an_open_gop_s_key_frame_are_not_counted(tmp_path):
    options = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3:b-adapt=0"}
    path = make_video(tmp_path / "whole.mkv", num_frames=40, **options)
    with av.open(str(path)) as container:
        keys = [i for i, p in enumerate(p for p in container.demux(video=0) if p.dts is not None) if p.is_keyframe]
    assert len(keys) > 1, "x264 marked no second key frame"
    cut = remux(path, tmp_path / "cut.mkv", lambda index, packet: index >= keys[1])
    assert examine(cut).facts.frames == len(decode_all(cut))


def test_a_truncated_file_with_its_index_in_front_is_what_a_full_decode_says(tmp_path):
    whole = make_video(tmp_path / "whole.mp4", num_frames=40, movflags="faststart")
    cut = tmp_path / "cut.mp4"
    with av.open(str(whole)) as container, av.open(str(cut), "w", options={"movflags": "+faststart"}) as output:
        stream = output.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    content = cut.read_bytes()
    for length in range(len(content) - 200, 1000, -97):
        cut.write_bytes(content[:length])
        try:
            expected = len(decode_all(cut))
        except (av.FFmpegError, ValueError):  # nothing to stack: no frame at all
            expected = None
        try:
            found = examine(cut).facts.frames
        except DecodeError:
            found = None
        assert found == expected
        assert found != 40


def test_av1_goes_by_its_own_name(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libsvtav1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((96, 160, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    assert examine(path).facts.codec == "av1"


def test_a_name_is_a_file_s_and_a_playlist_is_no_video(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "12:30 clip.mp4", num_frames=5)
    assert examine(Path("12:30 clip.mp4")).facts.frames == 5
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile '12:30 clip.mp4'\n")
    for function in (examine, lambda path: decode_frames(path, np.array([0]))):
        with pytest.raises(DecodeError):
            function(tmp_path / "list.mp4")


def broken_files(folder: Path):
    video = make_video(folder / "whole.mp4", num_frames=10)
    files = {name: folder / name for name in ("empty.mp4", "text.mp4", "truncated.mp4", "folder.mp4", "none.mp4", "audio.mp4")}
    files["empty.mp4"].touch()
    files["text.mp4"].write_text("no video\n" * 100)
    files["truncated.mp4"].write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    files["folder.mp4"].mkdir()
    with av.open(str(files["audio.mp4"]), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    fifo = folder / "fifo.mp4"
    os.mkfifo(fifo)
    return [*files.values(), fifo]


def test_broken_files_are_refused_with_a_reason(tmp_path, capfd):
    for path in broken_files(tmp_path):
        with pytest.raises(DecodeError) as error:
            examine(path)
        assert str(error.value)
        assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""  # FFmpeg's own opinion stays out of the user's sight


def test_a_frame_past_the_end_is_an_error(tmp_path):
    path = make_video(tmp_path / "a.mp4", num_frames=10)
    with pytest.raises(DecodeError, match="ends after 10 frames, before frame 10"):
        decode_frames(path, np.array([0, 10]))
    with pytest.raises(DecodeError, match="No such file"):
        decode_frames(tmp_path / "none.mp4", np.array([0]))


def test_colour_tags_are_read(tmp_path):
    path = make_video(tmp_path / "a.mp4", num_frames=3, **{"x264-params": "colormatrix=bt709"})
    assert examine(path).facts.matrix == 1


@pytest.mark.parametrize("more", [1, 2, 8, 40])
def test_a_riff_length_that_is_a_little_too_large_is_no_truncation(tmp_path, more):
    path = make_video(tmp_path / "a.avi", "mpeg4", 20)
    content = bytearray(path.read_bytes())
    content[4:8] = (int.from_bytes(content[4:8], "little") + more).to_bytes(4, "little")
    path.write_bytes(content)
    assert examine(path, "full", must_be_whole=True).facts.frames == 20
    path.write_bytes(content[:-more])
    with pytest.raises(DecodeError, match="is truncated"):
        examine(path, "full", must_be_whole=True)
