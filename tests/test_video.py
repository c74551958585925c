import os
from pathlib import Path

import av
import numpy as np
import pytest
from media import CODECS, decode_all, make_video, read_number

from c2d_fast.video import DecodeError, decode_frames, read_info


@pytest.mark.parametrize("codec", CODECS)
def test_decodes_exactly_the_frames_asked_for(tmp_path, codec):
    path = make_video(tmp_path / f"clip.{CODECS[codec][1]}", codec, num_frames=40)
    everything = decode_all(path)
    assert [read_number(frame) for frame in everything] == list(range(40))
    wanted = np.array([39, 0, 8, 8, 17, 3])
    frames = decode_frames(path, wanted)
    assert frames.dtype == np.uint8
    assert (frames == everything[wanted]).all()
    info = read_info(path)
    assert (info.num_frames, info.width, info.height, info.codec) == (40, 160, 96, codec)
    assert info.dali_agrees
    assert not info.bt709


@pytest.mark.parametrize("name", ["arm_wrestling.mp4", "clip_300.mp4", "mpeg4_164.avi"])
@pytest.mark.parametrize("threads", [1, 2])
def test_real_clips_are_numbered_by_decoding_order(shared, name, threads):
    path = shared / "videos" / name
    everything = decode_all(path)
    info = read_info(path)
    assert (info.num_frames, info.height, info.width) == everything.shape[:3]
    assert info.dali_agrees == (name != "mpeg4_164.avi")  # whose timestamps are in another order than its frames
    wanted = np.array([0, 3, 2, 100, info.num_frames - 1])
    assert (decode_frames(path, wanted, threads) == everything[wanted]).all()


def test_validation_clip_is_the_reference_s(shared):
    from c2d_fast import sampler

    frames = decode_frames(shared / "videos" / "clip_300.mp4", sampler.val_frames(300, 8, 8))
    x0, y0, x1, y1 = sampler.centre_box(340, 256, 224)
    clip = np.load(shared / "golden" / "clip_300_val.npz")["clip"]
    assert (frames[:, y0:y1, x0:x1].transpose(3, 0, 1, 2) == clip).all()


def test_counts_shown_frames_where_packets_are_not_frames(tmp_path):
    # VP8's alternate reference frames are packets that show nothing.
    path = make_video(tmp_path / "a.webm", "vp8", 60, **{"auto-alt-ref": "1", "lag-in-frames": "16", "b": "80k"})
    with av.open(str(path)) as container:
        packets = sum(bool(packet.size) for packet in container.demux(video=0))
    info = read_info(path)
    assert info.num_frames == 60
    assert info.dali_agrees == (packets == 60)


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
    info = read_info(cut)
    assert 0 < info.num_frames < 60
    decode_frames(cut, np.arange(info.num_frames - 2))


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
            read_info(path)
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
    assert read_info(path).bt709
