"""Video files made at test time. Every frame carries its number in its pixels, readable after lossy coding and scaling."""

import os
from pathlib import Path

import av
import numpy as np

from c2d_fast.formats.packet_table import rows_of
from c2d_fast.loading.plan import EvalPlan
from c2d_fast.video.facts import Facts, is_cropped, to_table
from c2d_fast.video.packets import Stored

BITS = 8
CODECS = {  # name -> (encoder, container, pixel format, options)
    "h264": ("libx264", "mp4", "yuv420p", {"bf": "3", "g": "250", "crf": "18"}),
    "hevc": ("libx265", "mp4", "yuv420p", {"x265-params": "log-level=none", "crf": "18"}),
    "mpeg4": ("mpeg4", "avi", "yuv420p", {"q:v": "2", "bf": "2"}),
    "vp8": ("libvpx", "webm", "yuv420p", {"b": "3M"}),
    "vp9": ("libvpx-vp9", "webm", "yuv420p", {"b": "3M"}),
    "av1": ("libsvtav1", "mp4", "yuv420p", {"crf": "20", "preset": "12"}),
    "mpeg2video": ("mpeg2video", "mpg", "yuv420p", {"q:v": "2", "bf": "2"}),
    "mjpeg": ("mjpeg", "avi", "yuvj420p", {"q:v": "2"}),
}


def numbered_frame(number, width=160, height=96, hue=0):
    """Draws a frame: its number in black and white columns on the upper half, colour that depends on hue below."""
    frame = np.zeros((height, width, 3), np.uint8)
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit in range(BITS):
        frame[: height // 2, edges[bit] : edges[bit + 1]] = 255 * (number >> bit & 1)
    frame[height // 2 :] = (40 + 20 * hue % 180, 200 - 30 * hue % 160, 90)
    frame[height // 2 :, : width // 4] = (220, 40, 40)  # left and right differ, so that a flip shows
    return frame


def read_number(frame):
    """Reads the number back from a whole frame [H, W, C], of any size."""
    frame = np.asarray(frame)
    height, width = frame.shape[:2]
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    bits = frame[height // 8 : 3 * height // 8, centres].mean((0, 2)) > 128
    return int((bits << np.arange(BITS)).sum())


def make_video(path, codec="h264", num_frames=40, width=160, height=96, hue=0, **options):
    """Encodes numbered frames and returns the path."""
    encoder, _, pix_fmt, defaults = CODECS[codec]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25, options={**defaults, **options})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, width, height, hue), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def spoil(path, keep=0):
    """Overwrites a file from byte `keep` on, so that only decoding shows it: size and modification time stay."""
    state, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:keep] + (b"no video " * len(content))[: len(content) - keep])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def decode_all(path):
    """Decodes the whole file the plain way: uint8 [F, H, W, C]."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def known(examined, table=False):
    """What reading parts of a file goes by: of examine's result, or of its facts, with or without a packet table."""
    facts = getattr(examined, "facts", examined)
    if not hasattr(facts, "codec"):  # a row of a manifest
        facts = Facts(*(value.decode() if isinstance(value, bytes) else value for value in facts.item()))
    names = ("codec", "full_range", "matrix", "closed_gops", "entries", "width", "height", "orientation")
    more = {"is_cropped": bool(is_cropped(to_table([facts]))[0])}
    more |= {"rows": rows_of(examined), "extradata": examined.extradata} if table else {}
    return Stored(**{name: getattr(facts, name) for name in names}, **more)


def make_dataset(root, codec="h264", count=6, sizes=((160, 96),), num_frames=(40,), num_classes=2, name="list.txt"):
    """Makes videos and their list; returns the list's path. Folder and file names have spaces."""
    lines = []
    for i in range(count):
        width, height = sizes[i % len(sizes)]
        video = f"some videos/clip {i}.{CODECS[codec][1]}"
        make_video(root / video, codec, num_frames[i % len(num_frames)], width, height, hue=i)
        lines.append(f"{video} {i % num_classes}\n")
    path = root / name
    path.write_text("".join(lines))
    return path


class WholeFrames(EvalPlan):
    """A plan whose crop is the whole frame, so that its number can be read from what the graph made of it."""

    def sample(self, step, slot):
        sample = super().sample(step, slot)
        return type(sample)(sample.index, sample.frames, np.array([[0, 0, 1, 1]], np.float32), False)

    def planned_numbers(self):
        samples = [self.sample(0, i) for i in range(len(self.videos))]
        return [sample.frames[self.positions(i)[0]].tolist() for i, sample in enumerate(samples)]


def read_numbers(clips):
    """Reads the frame numbers of clips [N, T, H, W, C]."""
    return [[read_number(frame) for frame in frames] for frames in np.asarray(clips)]
