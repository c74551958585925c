"""What a scan, and a start without one, say of files that are read though something is odd about them."""

from fractions import Fraction

import av
import pytest
from av.stream import Disposition
from media import make_dataset, make_video, numbered_frame
from runs import flags, one_line, run
from test_orientation import make

from c2d_fast.formats.manifest_file import read_manifest_file
from c2d_fast.lists.listing import read_list
from c2d_fast.manifest.manifest import read_manifest
from c2d_fast.prepare.encode import EncodeItem, EncodeSettings, encode_one
from c2d_fast.video.examine import examine
from c2d_fast.video.facts import Facts
from c2d_fast.video.reader import DecodeError


def scan(run_command, path, out, *more):
    return run_command("prepare", "scan", "--list", path, "--out", out, *more)


def test_a_list_of_which_nothing_is_there_is_an_error(tmp_path, run_command):
    (tmp_path / "l.txt").write_text("a.mp4 0\nb/c.mp4 1\n")
    done = scan(run_command, tmp_path / "l.txt", tmp_path / "m.npz")
    one_line(done, 2, f"none of its 2 videos is below {tmp_path}, first {tmp_path}/l.txt:1: a.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["l.txt"]
    make_video(tmp_path / "a.mp4", num_frames=4)
    done = scan(run_command, tmp_path / "l.txt", tmp_path / "m.npz")
    assert done.returncode == 0, done.stderr
    assert "1 can be used, 1 cannot" in done.stdout
    assert "b/c.mp4: no such file" in done.stdout
    before = (tmp_path / "m.npz").read_bytes()
    (tmp_path / "a.mp4").unlink()
    one_line(scan(run_command, tmp_path / "l.txt", tmp_path / "m.npz"), 2, "none of its 2 videos")
    assert (tmp_path / "m.npz").read_bytes() == before


def two_videos(path, sizes=((48, 48), (160, 96))):
    """Writes a file with several video streams."""
    with av.open(str(path), "w") as container:
        streams = []
        for width, height in sizes:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.disposition = Disposition.default
            streams.append(stream)
        for number in range(6):
            for stream in streams:
                if stream.width < 100 and number > 1:  # a preview
                    continue
                frame = av.VideoFrame.from_ndarray(numbered_frame(number, stream.width, stream.height), format="rgb24")
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    return path


def test_a_choice_of_streams_and_pixels_that_are_not_square_are_remarked_on(tmp_path, run_command):
    names = [f"{number}.mp4" for number in range(6)]
    for name in names:
        two_videos(tmp_path / name)
    two_videos(tmp_path / "last.mp4", sizes=((160, 96), (64, 48)))
    wide(tmp_path / "wide.mp4", Fraction(4, 3))
    wide(tmp_path / "square.mp4", Fraction(1))
    names += ["last.mp4", "wide.mp4", "square.mp4"]
    path = tmp_path / "l.txt"
    path.write_text("".join(f"{name} 0\n" for name in names))
    done = scan(run_command, path, tmp_path / "m.npz", "--no-packets")
    assert done.returncode == 0, done.stderr
    rows = {
        line.rsplit(maxsplit=1)[0].strip(): line.rsplit(maxsplit=1)[-1] for line in done.stdout.splitlines() if line.strip()
    }
    assert rows["several video streams (FFmpeg's choice is read)"] == "7"
    assert rows["pixels that are not square (read as if they were)"] == "1"
    assert "  0.mp4: stream 1 is read, 160x96, one of its 2 video streams" in done.stdout
    assert "and 2 more with several video streams" in done.stdout
    facts = read_manifest_file(tmp_path / "m.npz").facts
    assert facts["stream_index"].tolist() == [1] * 6 + [0] * 3
    assert facts["pixel_aspect"][-2:].tolist() == pytest.approx([4 / 3, 1.0])
    assert (facts["missing_bytes"] == 0).all()


def wide(path, aspect):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for number in range(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("aspect", [Fraction(64, 45), Fraction(8, 9)])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_the_aspect_of_pixels_stays_a_tag(tmp_path, aspect, codec):
    source = wide(tmp_path / "a.mp4", aspect)
    form = EncodeSettings(short_side=64, gop=1, b_frames=0, codec=codec, crf=20, preset="ultrafast")
    done = encode_one(EncodeItem("a.mp4", source, tmp_path / "b.mp4", form, True), lambda: None)
    assert done.reason == ""
    for path in (source, tmp_path / "b.mp4"):
        with av.open(str(path)) as container:
            assert container.streams.video[0].sample_aspect_ratio == aspect
    assert Facts(*done.facts).pixel_aspect == float(aspect)


@pytest.mark.parametrize(("name", "expected"), [("quarter clockwise", 2), ("mirrored", 2), ("transposed", Fraction(1, 2))])
def test_pixels_that_are_turned_for_good_take_their_aspect_along(tmp_path, name, expected):
    source = make(tmp_path / "a.mp4", name, aspect=Fraction(2))
    form = EncodeSettings(short_side=96, gop=1, b_frames=0, codec="h264", crf=20, preset="ultrafast")
    assert encode_one(EncodeItem("a.mp4", source, tmp_path / "b.mp4", form, True), lambda: None).reason == ""
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == expected


def cut_files(folder):
    """Makes files of every container that says its length, cut off so that what is left decodes."""
    whole = {
        "segment.mkv": ("h264", {}),
        "segment.webm": ("vp9", {}),
        "live.mkv": ("h264", {"live": "1"}),
        "live.webm": ("vp8", {"live": "1"}),
        "riff.avi": ("mpeg4", {}),
        "front.mp4": ("h264", {"movflags": "+faststart"}),
        "fragments.mp4": ("h264", {"movflags": "+frag_keyframe+empty_moov", "g": "10"}),
    }
    for name, (codec, options) in whole.items():
        path = write(folder / name, codec, options)
        assert examine(path, must_be_whole=True).facts.missing_bytes == 0, name
        length = int(path.stat().st_size * 0.7)
        if name.endswith("mp4"):  # half a packet would not decode
            with av.open(str(path)) as container:
                length = [packet.pos + packet.size for packet in container.demux(video=0) if packet.size][40]
        (folder / f"cut {name}").write_bytes(path.read_bytes()[:length])
    return [f"cut {name}" for name in whole]


def write(path, codec, options):
    encoder = {"h264": "libx264", "vp9": "libvpx-vp9", "vp8": "libvpx", "mpeg4": "mpeg4"}[codec]
    muxer = {name: value for name, value in options.items() if name != "g"}
    with av.open(str(path), "w", options=muxer) as container:
        stream = container.add_stream(encoder, rate=25, options={"g": options.get("g", "12")})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")))
        container.mux(stream.encode())
    return path


def test_files_that_are_cut_off_are_named_at_every_start(tmp_path, capsys):
    names = cut_files(tmp_path)
    make_video(tmp_path / "whole.mp4", num_frames=12)
    for name in names:
        facts = examine(tmp_path / name).facts
        assert 0 < facts.frames < 60, name
        assert facts.missing_bytes > 0, name
        with pytest.raises(DecodeError, match=r"is truncated: it has \d+ bytes of at least \d+"):
            examine(tmp_path / name, must_be_whole=True)
    (tmp_path / "l.txt").write_text("whole.mp4 0\n" + "".join(f"{name} 1\n" for name in names))
    for _ in range(2):  # from the files, and from what is known of them
        manifest = read_manifest(read_list(tmp_path / "l.txt", None, 2), allow_missing=False, jobs=1)
        assert manifest.broken == {}
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "cut off" in line]
        assert line.startswith(
            f"note: {len(names)} of the {len(names) + 1} videos of {tmp_path}/l.txt are cut off, first {tmp_path}"
        )
        assert "l.txt:2: cut segment.mkv (" in line


@pytest.mark.parametrize("end", [b"", b"\0" * 500, b"\x00\xff" * 100, b"no element" * 50])
def test_what_follows_a_whole_file_is_no_truncation(tmp_path, end):
    for name, codec, options in (
        ("a.mkv", "h264", {}),
        ("live.mkv", "h264", {"live": "1"}),
        ("f.mp4", "h264", {"movflags": "+frag_keyframe+empty_moov"}),
    ):
        path = write(tmp_path / name, codec, options)
        path.write_bytes(path.read_bytes() + end)
        assert examine(path).facts.missing_bytes == 0, name


def test_train_test_and_predict_say_it(tmp_path, whole_run, run_command):
    path = make_dataset(tmp_path, count=8, num_frames=(20,))
    cut = write(tmp_path / "cut.mkv", "h264", {})
    cut.write_bytes(cut.read_bytes()[: int(cut.stat().st_size * 0.7)])
    path.write_text(path.read_text() + "cut.mkv 0\n")
    model = ["--pipe", "tests/tiny_pipe.py", "--checkpoint", whole_run / "best.pt"]
    for done in (
        run(*flags(path, tmp_path / "run"), "--epochs", 1),
        run_command("test", *model, "--list", path, "--views", "1x1"),
        run_command("predict", cut, *model),
    ):
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.splitlines() if "cut off, first" in line]
        assert lines
        assert all("cut.mkv (" in line for line in lines)
