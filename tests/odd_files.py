"""A folder of more than 60 files as users have them: good ones of every kind, and broken ones of every kind."""

import os
from fractions import Fraction

import av
import numpy as np
from media import make_video, numbered_frame

BROKEN_BY_NAME = ("spins", "crashes")
"""What SITECUSTOMIZE makes of files with these words in their names."""
SITECUSTOMIZE = """
import os
import sys
if "multiprocessing.spawn" in " ".join(sys.argv) or "--multiprocessing-fork" in sys.argv:
    import av
    open_file = av.open
    def open_or_not(name, *args, **kwargs):
        while "spins" in str(name):
            pass
        if "crashes" in str(name):
            os.abort()
        return open_file(name, *args, **kwargs)
    av.open = open_or_not
"""


def make_odd_files(folder):
    """Makes the files; returns {name: None for a good one, or a part of the reason that it is broken for}."""
    folder.mkdir(parents=True)
    expected = dict.fromkeys(_good(folder))
    expected |= _cut_short(folder)
    expected |= _damaged(folder)
    expected |= _no_videos(folder)
    for word, reason in (("spins", "hangs"), ("crashes", "SIGABRT")):
        make_video(folder / f"{word}.mp4", num_frames=12)
        expected[f"{word}.mp4"] = reason
    return expected


def _good(folder):
    sizes = [(160, 96), (96, 160), (128, 128), (64, 48), (176, 144), (320, 240)]
    for number in range(18):
        width, height = sizes[number % len(sizes)]
        options = {"bf": str(number % 4), "g": str((250, 12, 1)[number % 3]), "crf": str(18 + number)}
        yield make_video(folder / f"plain {number}.mp4", "h264", 20 + number, width, height, hue=number, **options).name
    for codec, suffixes in {
        "hevc": ("mp4", "mkv"),
        "mpeg4": ("avi", "mp4"),
        "vp8": ("webm", "mkv"),
        "vp9": ("webm", "mp4"),
    }.items():
        for suffix in suffixes:
            yield make_video(folder / f"{codec}.{suffix}", codec).name
    yield make_video(folder / "mjpeg.avi", "mjpeg").name
    yield make_video(folder / "open gop.mp4", **{"x264-params": "open-gop=1:keyint=12:bframes=3"}).name
    yield make_video(folder / "intra refresh.mp4", **{"x264-params": "intra-refresh=1:keyint=12"}).name
    yield make_video(folder / "transport stream.ts", g="12").name
    yield remux(make_video(folder / "whole.mp4"), folder / "index in front.mp4", movflags="+faststart").name
    yield make_video(folder / 'it\'s "quoted" ünï.mp4').name
    yield make_video(folder / "one frame.mp4", num_frames=1).name
    yield make_video(folder / "odd.webm", "vp9", width=161, height=97).name
    yield make_video(folder / "odd.avi", "mjpeg", width=97, height=161).name
    # Content that is a good mp4 under other names.
    os.rename(make_video(folder / "a.mp4"), folder / "an mp4 in truth.avi")
    os.rename(make_video(folder / "a.mp4"), folder / "an mp4 in truth.txt")
    yield from ("an mp4 in truth.avi", "an mp4 in truth.txt")
    for pix_fmt in ("yuv420p10le", "yuv422p", "yuv444p", "yuvj420p"):
        yield _encode(folder / f"{pix_fmt}.mp4", pix_fmt)
    yield _encode(folder / "odd.mp4", "yuv444p", width=161, height=97)
    yield _encode(folder / "rotated.mp4", rotation=90)
    yield _encode(folder / "variable.mp4", times=np.cumsum(np.arange(30) % 5 + 1))
    yield _encode(folder / "variable.mkv", times=np.cumsum(np.arange(30) % 3 + 1))
    yield _encode(folder / "with sound.mp4", audio=True)
    for suffix in ("mp4", "mkv", "ts"):
        yield remux(make_video(folder / "whole.mp4", g="12"), folder / f"starts between key frames.{suffix}", range(5)).name
    (folder / "whole.mp4").unlink()


def _cut_short(folder):
    for name, codec in (
        ("cut 1.mp4", "h264"),
        ("cut.mkv", "h264"),
        ("cut.avi", "mpeg4"),
        ("cut.webm", "vp9"),
        ("cut 2.avi", "mjpeg"),
    ):
        path = make_video(folder / name, codec)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
        yield name, "does not decode" if name == "cut 1.mp4" else "is truncated"
    path = remux(folder / "plain 0.mp4", folder / "cut 2.mp4", movflags="+faststart")
    path.write_bytes(path.read_bytes()[:-300])
    yield path.name, "is truncated"


def _damaged(folder):
    rng = np.random.default_rng(0)
    for name, codec in (("damaged 1.mp4", "h264"), ("damaged 2.mp4", "h264"), ("damaged.avi", "mpeg4")):
        path = make_video(folder / name, codec)
        with av.open(str(path)) as container:
            position, size = max((p.pos, p.size) for p in container.demux(video=0) if p.size > 100)
        content = bytearray(path.read_bytes())
        content[position + size // 3 : position + size // 3 + 40] = rng.bytes(40)
        path.write_bytes(content)
        yield name, "is damaged"
    path = remux(folder / "plain 0.mp4", folder / "zeros.mp4", movflags="+faststart")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    yield path.name, "no frame that decodes"


def _no_videos(folder):
    (folder / "empty.mp4").touch()
    yield "empty.mp4", "does not decode"
    (folder / "text.mp4").write_text("no video\n" * 1000)
    yield "text.mp4", "does not decode"
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(10_000))
    yield "noise.mp4", "does not decode"
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for packet in _sound(stream):
            container.mux(packet)
    yield "sound.mp4", "no video stream"
    make_video(folder / "other.mp4", num_frames=3)
    (folder / "playlist.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    yield from {"other.mp4": None, "playlist.mp4": "playlist"}.items()
    with av.open(str(folder / "picture.jpg"), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(1, 64, 48), format="rgb24")))
        container.mux(stream.encode())
    os.rename(folder / "picture.jpg", folder / "picture.mp4")
    yield "picture.mp4", "is a picture"
    os.mkfifo(folder / "pipe.mp4")
    (folder / "folder.mp4").mkdir()
    yield from {"pipe.mp4": "not a regular file", "folder.mp4": "not a regular file"}.items()
    (folder / "dangling.mp4").symlink_to("nowhere.mp4")
    (folder / "around.mp4").symlink_to("around.mp4")
    yield from {"dangling.mp4": "no such file", "around.mp4": "no such file", "never there.mp4": "no such file"}.items()
    (folder / "link.mp4").symlink_to("other.mp4")
    yield "link.mp4", None


def _encode(path, pix_fmt="yuv420p", *, width=160, height=96, rotation=0, times=None, audio=False):
    times = np.arange(30) if times is None else times
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = Fraction(1, 25)
        if rotation:
            stream.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=16000, layout="mono") if audio else None
        for number, time in enumerate(times.tolist()):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, width, height), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            container.mux(list(_sound(sound)))
    return path.name


def _sound(stream):
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts = 16000, 0
    return [*stream.encode(frame), *stream.encode()]


def remux(source, target, left_out=(), **options):
    """Copies a file's packets into another container, without those with the numbers left_out."""
    with av.open(str(source)) as container, av.open(str(target), "w", options=options) as output:
        stream = output.add_stream_from_template(container.streams.video[0])
        for number, packet in enumerate(p for p in container.demux(video=0) if p.dts is not None):
            if number not in left_out:
                packet.stream = stream
                output.mux(packet)
    return target
