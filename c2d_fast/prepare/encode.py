"""Rewrites one video for fast random access. Child processes import this module: no torch, no DALI."""

import dataclasses
import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import av.filter
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from c2d_fast.formats.packet_table import rows_of
from c2d_fast.remote.remote_path import UNKNOWN, Location, RemotePath
from c2d_fast.remote.transfers import upload
from c2d_fast.video.demuxed import frames_of
from c2d_fast.video.examine import examine
from c2d_fast.video.file_states import file_state, local_file, state_of
from c2d_fast.video.orientation import MIRRORED, QUARTER_TURNS, TRANSPOSED, UPSIDE_DOWN
from c2d_fast.video.reader import DecodeError, frame_orientation, open_video, reason, video_stream
from c2d_fast.video.storage import sibling_files, storage_problem

PARTIAL = ".c2d_fast-partial.mp4"
"""How the names of unfinished files end."""
_ENCODERS = {"h264": "libx264", "hevc": "libx265"}
# Long sides in sixteenths of the short one: a video's shape changes by 6 % at most, and few sizes are left.
_RATIOS = (16, 18, 20, 21, 22, 24, 26, 28, 30, 32, 35, 38)
_BT601 = 6
_MATRICES = frozenset({1, 5, 6})  # BT.709 and the two of BT.601


@dataclass(frozen=True, kw_only=True)
class EncodeSettings:
    """How videos are stored."""

    short_side: int
    gop: int
    """Frames from key frame to key frame; 1: every frame is one."""
    b_frames: int
    codec: str
    """h264 or hevc."""
    crf: int
    preset: str


@dataclass(frozen=True)
class EncodeItem:
    """What a child process is given."""

    video: str
    """The source's path in the list, as a name for it."""
    source: Location
    target: Path
    settings: EncodeSettings
    is_sound: bool
    """Whether the source is known to decode without an error."""
    upload: RemotePath | None = None
    """Where the result goes in the end, if not to target."""


@dataclass(frozen=True)
class EncodeResult:
    """What became of it."""

    source: tuple[int, int]
    """Size and mtime_ns of the source."""
    target: tuple[int, int]
    """Of what was written; -1 where nothing was."""
    facts: Any
    """The values of Facts of what was written; None where nothing was."""
    reason: str
    """Why nothing was written; empty where something was."""
    packets: Any = None
    """Rows of the packet table and the decoder's configuration, as two bytes; or their packet_store.PacketLocation."""


def target_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Returns the width and height that a video is stored in: multiples of 16, of few kinds, never much larger than it was.

    Args:
        width: of the source.
        height: of the source.
        short_side: the shorter side to be, for a source that is not smaller.
    """
    short = max(round(min(short_side, width, height) / 16) * 16, 16)
    ratio = max(width, height) / min(width, height)
    if ratio < 2.5:
        known = (max(round(short * sixteenths / 256) * 16, short) for sixteenths in _RATIOS)
        long = min(known, key=lambda pixels: abs(pixels - short * ratio))
    else:
        long = max(round(short * ratio / 64) * 64, short)
    return (long, short) if width > height else (short, long)


def remove_unfinished(target: Path) -> None:
    """Removes what processes that were killed have left of a result."""
    for left in target.parent.glob(f".{_partial_stem(target)}-*{PARTIAL}"):
        left.unlink(missing_ok=True)


def _partial_stem(target: Path) -> str:
    return hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]  # as long as any file system allows


def encode_one(item: EncodeItem, tick: Callable[[], None]) -> EncodeResult:
    """Rewrites a video and checks the result by decoding it; runs in a child process.

    Raises:
        OSError: the disk is full.
    """
    source_state = state_of(item.source)
    state = source_state.key
    # Another name each time: on another machine a process may still write whose command has been killed.
    partial = item.target.with_name(f".{_partial_stem(item.target)}-{secrets.token_hex(4)}{PARTIAL}")
    try:
        item.target.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(item.target)
        with local_file(item.source, tick) as source:
            if not item.is_sound:  # FFmpeg would conceal damage, and the result would pass for a good video
                examine(source, "full", tick, must_be_whole=True)
            num_frames = _encode(source, partial, item.settings, tick)
        examined = examine(partial, "full", tick, must_be_whole=True, locate=True)
        facts = examined.facts
        if facts.frames != num_frames or not facts.closed_gops:
            raise DecodeError(f"was not stored as it should be: {facts.frames} frames of {num_frames} come out")
        if not isinstance(item.source, RemotePath) and file_state(item.source) != source_state:
            raise DecodeError("changed while it was read")
        # With the source's time, a result says which state of the source it is of, and is the same whenever it is made.
        os.utime(partial, ns=(state[1], state[1]))
        if item.upload:
            upload(partial, item.upload)
            target_state = file_state(item.upload) or UNKNOWN
            partial.unlink()
        else:
            os.replace(partial, item.target)
            target_state = file_state(item.target) or UNKNOWN
    except (DecodeError, av.FFmpegError, ValueError, OSError, MemoryError) as error:
        partial.unlink(missing_ok=True)
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(errno.ENOSPC, "the disk is full") from error
        is_of_target = str(item.target.parent) in str(getattr(error, "filename", None))
        unread = "" if is_of_target else storage_problem(error, item.source, lambda: sibling_files(item.source))
        return EncodeResult(state, (-1, -1), None, unread or (str(error) if isinstance(error, DecodeError) else reason(error)))
    packets = (rows_of(examined).tobytes(), examined.extradata)
    return EncodeResult(state, target_state.key, dataclasses.astuple(facts), "", packets)


def _encode(source: Path, target: Path, settings: EncodeSettings, tick: Callable[[], None]) -> int:
    """Writes every frame of the source once, in the order that the decoder puts them out; returns how many."""
    with open_video(source) as container, av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as output:
        stream = video_stream(container)
        stream.codec_context.thread_count = 1
        rate = _rate(stream)
        encoder: Any = None
        reformatter = VideoReformatter()
        count = 0
        for frame, pixel_aspect in _decoded(container, stream):
            tick()
            if encoder is None:
                encoder = _encoder(output, settings, rate, frame, pixel_aspect)
                width, height, matrix = encoder.width, encoder.height, int(frame.colorspace)
            scaled = reformatter.reformat(
                frame, width=width, height=height, format="yuv420p", interpolation=Interpolation.BICUBIC,
                dst_color_range=ColorRange.MPEG,
            )  # fmt: skip
            scaled.pts, scaled.time_base = count, 1 / rate
            scaled.pict_type = 0  # the encoder's to choose
            scaled.colorspace = matrix if matrix in _MATRICES else _BT601 if _is_rgb(frame) else 2
            output.mux(encoder.encode(scaled))
            count += 1
        if encoder is None:
            raise DecodeError("has no frame that decodes")
        output.mux(encoder.encode())
    return count


def _decoded(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[tuple[av.VideoFrame, Fraction | None]]:
    """Yields the frames and the aspect ratio of their pixels, if the file says one.

    Mirrored ones come as they are shown: a tag that turns is kept, one that mirrors cannot be.
    """
    graph: Any = None
    aspect = stream.sample_aspect_ratio or None
    for frame in frames_of(container, stream):
        orientation = frame_orientation(frame)
        if orientation in QUARTER_TURNS:
            yield frame, aspect
            continue
        graph = graph or _turning(stream, orientation)
        graph.push(frame)
        yield graph.pull(), 1 / aspect if aspect and orientation & TRANSPOSED else aspect


def _turning(stream: av.VideoStream, orientation: int) -> Any:
    graph = av.filter.Graph()
    names = {TRANSPOSED: ("transpose", "cclock_flip"), MIRRORED: ("hflip", None), UPSIDE_DOWN: ("vflip", None)}
    steps = [graph.add(name, how) for part, (name, how) in names.items() if orientation & part]
    graph.link_nodes(graph.add_buffer(template=stream), *steps, graph.add("buffersink")).configure()
    return graph


def _is_rgb(frame: av.VideoFrame) -> bool:
    return frame.format.is_rgb


def _rate(stream: av.VideoStream) -> Fraction:
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    return Fraction(rate).limit_denominator(1001) if 1 <= rate <= 240 else Fraction(25)


def _encoder(
    output: av.container.OutputContainer,
    settings: EncodeSettings,
    rate: Fraction,
    frame: av.VideoFrame,
    pixel_aspect: Fraction | None,
) -> Any:
    b_frames = settings.b_frames if settings.gop > 1 else 0
    common = {
        "keyint": settings.gop,
        "min-keyint": settings.gop,
        "scenecut": 0,
        "open-gop": 0,
        "bframes": b_frames,
        # One thread, and no choice that depends on time: the same bytes each time. A child process for each CPU is as fast.
        **({"threads": 1, "mbtree": 0, "b-pyramid": "none"} if settings.codec == "h264" else {}),
        **({"pools": "none", "frame-threads": 1, "b-pyramid": 0, "log-level": "none"} if settings.codec == "hevc" else {}),
    }
    params = ":".join(f"{name}={value}" for name, value in common.items())
    options = {
        "crf": str(settings.crf),
        "preset": settings.preset,
        f"{'x264' if settings.codec == 'h264' else 'x265'}-params": params,
    }
    stream: Any = output.add_stream(_ENCODERS[settings.codec], rate=rate, options=options)
    stream.width, stream.height = target_size(frame.width, frame.height, settings.short_side)
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = 1 / rate
    matrix = int(frame.colorspace)
    if matrix in _MATRICES or _is_rgb(frame):
        stream.codec_context.colorspace = matrix if matrix in _MATRICES else _BT601
    stream.codec_context.color_range = 1
    if settings.codec == "hevc":
        stream.codec_context.codec_tag = "hvc1"
    if pixel_aspect:  # nothing here goes by it, but players do
        stream.codec_context.sample_aspect_ratio = pixel_aspect
    # Pixels that are turned, and not mirrored, stay as they are stored; whatever reads them goes on turning them.
    if frame.rotation and frame_orientation(frame) in QUARTER_TURNS:
        stream.set_display_rotation(frame.rotation)
    return stream
