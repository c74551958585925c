"""Examines one video file, more or less thoroughly. Child processes import this module: no torch, no DALI."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.container
import numpy as np
from numpy.typing import NDArray

from c2d_fast.processes.watched_threads import heartbeat
from c2d_fast.video.container_bytes import locate_packets, missing_bytes
from c2d_fast.video.decoded_order import count_frames, gives_order
from c2d_fast.video.demuxed import packets_of
from c2d_fast.video.facts import DEPTHS, MOST_BYTES, Facts
from c2d_fast.video.nal import READABLE, Picture, length_size, needed_by_others, read_picture
from c2d_fast.video.orientation import TRANSPOSED
from c2d_fast.video.packets import entry_packets
from c2d_fast.video.picture_order import PictureOrder
from c2d_fast.video.reader import DecodeError, frame_orientation, open_video, reason, video_stream, video_streams
from c2d_fast.video.timestamps import is_constant, is_increasing

# Codecs of which every packet holds exactly one shown frame, so that counting packets counts frames. The others have
# packets that show nothing (VP8 and AV1 alternate references, MPEG-4's packed B-frames): their frames are counted by
# decoding.
_ONE_FRAME_A_PACKET = frozenset({"h264", "hevc", "mjpeg"})
_ORDER_BY_HEADERS = frozenset({"h264", "hevc"})
_KEYS_FORGET = frozenset({"mjpeg", "vp8", "vp9"})  # everything before them; of other codecs it is read from the packets


class Packet(NamedTuple):
    """One packet of the video stream."""

    position: int
    """Byte of the file at which its data begins; -1 where the container does not store it in one piece."""
    size: int
    pts: int | None
    dts: int | None
    is_key: bool
    is_reference: bool
    is_entry: bool
    """Whether what is decoded and shown later needs nothing from before, by its headers."""
    is_hidden: bool
    """Marked as not to be shown, or as damaged."""


@dataclass
class Examined:
    """What was found."""

    facts: Facts
    packets: list[Packet]
    extradata: bytes

    def shown(self) -> NDArray[np.int64]:
        """Returns the number of the frame that each packet becomes, int64 [packets]; of no use unless facts.in_order."""
        times = [packet.dts if packet.pts is None else packet.pts for packet in self.packets]
        return np.argsort(np.argsort(np.array(times, np.int64), kind="stable"), kind="stable")

    def entries(self) -> NDArray[np.int64]:
        """Returns the packets at which decoding can begin, int64 [facts.entries]."""
        if not self.facts.entries:
            return np.zeros(0, np.int64)
        return entry_packets(self.shown(), np.array([packet.is_entry for packet in self.packets]))


@dataclass
class _Decoded:
    """What decoding put out, as far as it went."""

    frames: int = 0
    first: av.VideoFrame | None = None
    times: list[int | None] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    """Packets that the decoder refused."""
    damaged: int = 0
    """Frames that the decoder marked as damaged."""
    lead: int = 0
    """Packets that were read before the first frame came out."""
    is_interlaced: bool = False
    """Whether a frame says that it is, or a picture is a field."""
    shown: NDArray[np.int64] | None = None
    """Number of the frame that each packet becomes, by the headers of H.264 and HEVC, where these tell."""
    is_reconfigured: bool = False
    """Whether the container sets the decoder up anew on the way."""


def examine(
    path: Path,
    depth: str = "packets",
    tick: Callable[[], object] = heartbeat,
    *,
    must_be_whole: bool = False,
    locate: bool = False,
) -> Examined:
    """Reads through a video file.

    Args:
        path: the file.
        depth: packets: the first frame is decoded, and all where packets do not tell how many there are. keyframes: every
            key frame, too. full: every frame.
        tick: called again and again as reading gets on.
        must_be_whole: refuse a file that ends before its container says, though what is there may decode.
        locate: find each packet's bytes in the file; without, all positions are -1.

    Raises:
        DecodeError: it is no regular file, or no video, or damaged as far as this depth shows it.
    """
    assert depth in DEPTHS
    try:
        examined = _examine(path, depth, tick, must_be_whole)
        return replace(examined, packets=_located(path, examined.packets)) if locate else examined
    except (av.FFmpegError, OSError, ValueError, OverflowError) as error:
        raise DecodeError(reason(error)) from error


def _examine(path: Path, depth: str, tick: Callable[[], object], must_be_whole: bool) -> Examined:
    with open_video(path) as container:
        stream = video_stream(container)
        context = stream.codec_context
        context.thread_count = 1
        if depth != "packets":  # what FFmpeg would conceal is an error here
            context.options = {"err_detect": "explode"}
        if depth == "keyframes":
            context.skip_frame = "NONKEY"
        codec = context.codec.canonical_name  # that of the format (av1), not of the decoder (libdav1d)
        lacking = missing_bytes(path, container, stream, must_be_whole=must_be_whole)
        packets, decoded = _read(container, stream, codec, depth, tick)
        first = decoded.first
        if first is None and depth == "keyframes":  # it may have none, and be shown from another picture on
            return _examine(path, "packets", tick, must_be_whole)
        if first is None:
            raise DecodeError("has no frame that decodes")
        starts_with_key = packets[0].is_key
        if depth != "packets":
            _check_decoded(decoded, starts_with_key, len(packets))
        rate, container_name = stream.average_rate or stream.guessed_rate, container.format.name.split(",")[0]
        promised, rotation, audio = stream.frames, first.rotation, bool(container.streams.audio)
        time_base, coded, extradata = stream.time_base, (context.coded_width, context.coded_height), context.extradata
        tags, profile = (context.color_primaries, context.color_trc), context.profile
        aspect, index, num_streams = stream.sample_aspect_ratio, stream.index, len(video_streams(container))
    if depth == "full" and (starts_with_key or not decoded.failed):
        num_frames, in_order = decoded.frames, is_increasing(decoded.times)
    elif not decoded.is_interlaced and _countable(codec, promised, packets):
        num_frames, in_order = len(packets), True
    else:
        num_frames, in_order = count_frames(path, tick)
    times = [packet.dts if packet.pts is None else packet.pts for packet in packets]
    known = {time for time in times if time is not None and time >= 0}  # DALI drops what is before, and what is equal
    in_order = in_order and num_frames == len(packets) == len(known)
    if in_order and codec in _ORDER_BY_HEADERS:
        in_order = gives_order(path, np.array(times, np.int64), decoded.shown, tick)
    orientation = frame_orientation(first)
    is_transposed = bool(orientation & TRANSPOSED)
    keys = [number for number, packet in enumerate(packets) if packet.is_key]
    facts = Facts(
        frames=num_frames,
        packets=len(packets),
        promised_frames=promised,
        width=first.height if is_transposed else first.width,
        height=first.width if is_transposed else first.height,
        coded_width=coded[0],
        coded_height=coded[1],
        fps=float(rate or 0),
        constant_rate=is_constant(times, float(time_base or 0)),
        codec=codec,
        container=container_name,
        pix_fmt=first.format.name,
        full_range=int(first.color_range) == 2 or first.format.name.startswith("yuvj"),
        matrix=int(first.colorspace),
        primaries=int(tags[0]),
        transfer=int(tags[1]),
        rotation=int(rotation),
        orientation=orientation,
        interlaced=decoded.is_interlaced,
        audio=audio,
        key_frames=len(keys),
        longest_gop=max((b - a for a, b in pairwise([*keys, len(packets)])), default=0),
        reordered=any(a.pts is not None and b.pts is not None and a.pts > b.pts for a, b in pairwise(packets)),
        disposable=sum(not packet.is_reference for packet in packets) if codec in READABLE else -1,
        closed_gops=False,
        in_order=in_order,
        pixel_aspect=float(aspect or 0),
        video_streams=num_streams,
        stream_index=index,
        missing_bytes=min(lacking, MOST_BYTES),
    )
    examined = Examined(facts, packets, extradata or b"")
    return examined if decoded.is_reconfigured else _with_entries(examined, profile)


def _with_entries(examined: Examined, profile: str | None) -> Examined:
    """Adds to the facts where decoding can begin."""
    facts, packets = examined.facts, examined.packets
    # Of fields that are stored one by one, headers do not say what depends on what. In an interlaced file nothing is left out.
    if not facts.in_order or facts.interlaced:
        return examined
    # How x264 stored that profile (lossless 4:2:0, too) depends on its version, which the first packet alone may tell.
    if facts.codec == "h264" and profile == "High 4:4:4 Predictive":
        packets = [packet._replace(is_entry=False) for packet in packets]
    entries = set(Examined(replace(facts, entries=1), packets, b"").entries().tolist())
    closed = all(number in entries for number, packet in enumerate(packets) if packet.is_key) and packets[0].is_entry
    return Examined(replace(facts, entries=len(entries), closed_gops=closed), packets, examined.extradata)


def _read(
    container: av.container.InputContainer, stream: av.VideoStream, codec: str, depth: str, tick: Callable[[], object]
) -> tuple[list[Packet], _Decoded]:
    """Demuxes all packets, and decodes as many as the depth says."""
    size = length_size(codec, stream.codec_context.extradata)
    order = PictureOrder(codec, stream.codec_context.extradata) if codec in _ORDER_BY_HEADERS else None
    pictures: list[Picture] = []
    packets: list[Packet] = []
    decoded = _Decoded()
    for packet in packets_of(container, stream):
        tick()
        decoded.is_reconfigured |= packet.has_sidedata("new_extradata")
        if packet.size:
            picture = Picture(True, codec in _KEYS_FORGET, 0, b"")
            if codec in READABLE:
                picture = read_picture(codec, memoryview(packet), size)
            if order:
                order.add(memoryview(packet))
            pictures.append(picture)
            is_entry, is_hidden = packet.is_keyframe and picture.is_entry, packet.is_discard or packet.is_corrupt
            found = (packet.size, packet.pts, packet.dts, packet.is_keyframe, True, is_entry, is_hidden)
            packets.append(Packet(-1, *found))
        if depth != "packets" or decoded.first is None:
            _decode(packet, len(packets) - bool(packet.size), decoded, strict=depth != "packets")
    if order:
        decoded.is_interlaced |= order.has_fields
        decoded.shown = order.shown()
    return _with_pictures(packets, pictures), decoded


def _with_pictures(packets: list[Packet], pictures: list[Picture]) -> list[Packet]:
    """Adds what the headers say of all packets together."""
    # Parameter sets hold until they are replaced. Where packets bring any, each entry must bring them, always the same.
    brought = {picture.parameter_sets for picture in pictures} - {b""}
    at_entries = {picture.parameter_sets for packet, picture in zip(packets, pictures, strict=True) if packet.is_entry}
    is_changing = len(brought) > 1 or (brought and at_entries != brought) or any(picture.has_grain for picture in pictures)
    return [
        packet._replace(is_reference=needed, is_entry=packet.is_entry and not is_changing)
        for packet, needed in zip(packets, needed_by_others(pictures), strict=True)
    ]


def _decode(packet: "av.Packet[Any]", number: int, decoded: _Decoded, *, strict: bool) -> None:
    try:
        frames = packet.decode()
    except av.FFmpegError:
        if not strict:
            raise
        decoded.failed.append(number)
        return
    for frame in frames:
        assert isinstance(frame, av.VideoFrame)
        if decoded.first is None:
            decoded.first, decoded.lead = frame, number
        decoded.frames += 1
        decoded.times.append(frame.pts)
        decoded.damaged += frame.is_corrupt
        decoded.is_interlaced |= bool(frame.interlaced_frame)


def _check_decoded(decoded: _Decoded, starts_with_key: bool, num_packets: int) -> None:
    # A file that was cut out of another may begin with pictures that need ones that are gone: those are not shown, and
    # that is all.
    failed = [number for number in decoded.failed if starts_with_key or number > decoded.lead]
    if failed:
        raise DecodeError(f"is damaged: {len(failed)} of its {num_packets} packets do not decode, first number {failed[0]}")
    if decoded.damaged:
        raise DecodeError(f"is damaged: {decoded.damaged} of its {decoded.frames} frames decode with errors")


def _located(path: Path, packets: list[Packet]) -> list[Packet]:
    positions = locate_packets(path)
    if len(positions) != len(packets):
        raise DecodeError("gave other packets when it was read again")
    return [packet._replace(position=position) for packet, position in zip(packets, positions, strict=True)]


def _countable(codec: str, promised: int, packets: list[Packet]) -> bool:
    """Says whether a decoder shows a frame for every packet, so far as the packets tell."""
    start = packets[0]
    if codec not in _ONE_FRAME_A_PACKET or promised not in (0, len(packets)):
        return False
    if not start.is_key or any(packet.is_hidden for packet in packets):
        return False
    # Frames shown before the first key frame need one that is not there.
    return all(packet.pts is None or start.pts is None or packet.pts >= start.pts for packet in packets)
