"""Clip-wise reading: of a file only the packets that the wanted frames depend on. No torch, no DALI.

Decoding can begin at some packets (entries) and what lies between two of them is a group. Of a group with a wanted frame the
packets up to the last such one are needed, but not those that no other depends on and nobody wants. Packets are known from
a packet table, and then nothing else of the file is read; or they are found by reading through the file.
"""

import io
import os
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.container
import numpy as np
from numpy.typing import NDArray

from c2d_fast.remote import ranges
from c2d_fast.remote.remote_path import Location, RemotePath
from c2d_fast.video.demuxed import packets_of
from c2d_fast.video.nal import READABLE, length_size, needed_by_others, read_picture
from c2d_fast.video.orientation import TRANSPOSED

DTYPE = np.dtype(
    [("position", "<i8"), ("size", "<i4"), ("shown", "<i4"), ("key", "?"), ("entry", "?"), ("reference", "?")]
)  # fmt: skip
"""A packet. position: byte of the file, -1 where its container parts or changes packets. shown: number of the frame that it
becomes, -1 where that is not one to one. entry: decoding can begin here. reference: others may depend on it."""

TABLE_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "mjpeg"})
"""Codecs that a decoder can be set up for without their container. (MPEG-4's goes by the container's tag, too.)"""

_READ_TOGETHER = 16 * 1024  # bytes between two packets that are read with them: cheaper than another request
_FRAME_MS = 40  # in the streams that are made; nobody looks at it

Groups = list[list["av.Packet[Any]"]]
"""Packets in decoding order, parted where decoding begins anew; pts is the number of the frame that a packet becomes."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """How a video is stored, as far as it matters for reading parts of it."""

    codec: str = ""
    full_range: bool = False
    matrix: int = 2
    closed_gops: bool = False
    entries: int = 0
    """As in facts.Facts."""
    rows: NDArray[Any] | None = None
    """DTYPE [packets], where there is a packet table."""
    extradata: bytes = b""
    """What a decoder is set up with, from the table."""
    width: int = 0
    height: int = 0
    """Of the shown frames, in pixels; 0 where it is not known."""
    orientation: int | None = None
    """As in facts.Facts; None: as each frame says itself, which it can where its container is open."""
    is_cropped: bool = False
    """Whether frames are coded larger than they are shown."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the shown frames before they are turned."""
        return (self.height, self.width) if (self.orientation or 0) & TRANSPOSED else (self.width, self.height)


WHOLE = Stored()
"""Nothing is known: files are decoded from their beginning, whole."""


def entry_packets(shown: NDArray[np.int64], may_start: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns the packets at which decoding can begin: int64 [entries], the first packet always.

    Args:
        shown: number of the frame that each packet becomes, int64 [packets], in decoding order.
        may_start: packets whose headers say that nothing after them needs what is before, bool [packets].
    """
    lowest_from_here = np.minimum.accumulate(shown[::-1])[::-1]
    # What was decoded before is also shown before, and what is decoded later shown later.
    is_entry = may_start & (shown == np.arange(len(shown))) & (lowest_from_here == shown)
    is_entry[0] = True
    return np.flatnonzero(is_entry)


def packet_ranges(entries: NDArray[np.int64], indices: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Returns the parts of a file that hold all that some packets depend on: (first packet, end), in order.

    Args:
        entries: packets at which decoding can begin, sorted.
        indices: of the packets wanted.
    """
    starts = entries[np.searchsorted(entries, indices, side="right") - 1]
    firsts, part = np.unique(starts, return_inverse=True)
    ends = np.zeros(len(firsts), np.int64)
    np.maximum.at(ends, part, indices + 1)  # a frame is decoded after all that it depends on
    return list(zip(firsts.tolist(), ends.tolist(), strict=True))


def needed_rows(rows: NDArray[Any], wanted: NDArray[np.int64]) -> list[NDArray[Any]]:
    """Returns the packets that frames depend on, group by group: each DTYPE [packets].

    Args:
        rows: all packets of a video, DTYPE [packets].
        wanted: frame numbers, each below the number of packets.
    """
    index_of = np.empty(len(rows), np.int64)
    index_of[rows["shown"]] = np.arange(len(rows))
    indices = index_of[wanted]
    groups = []
    for start, end in packet_ranges(np.flatnonzero(rows["entry"]), indices):
        keep = rows["reference"][start:end].copy()
        keep[indices[(indices >= start) & (indices < end)] - start] = True
        groups.append(rows[start:end][keep])
    return groups


def table_rows(stored: Stored, wanted: NDArray[np.int64]) -> list[NDArray[Any]] | None:
    """Returns the packets that frames depend on by the packet table, group by group: each DTYPE [packets].

    Args:
        stored: with its rows.
        wanted: frame numbers, sorted.

    Returns:
        None where the table does not lead there: frames past the end, packets that do not lie in the file in one piece or in
        its order, no packet to begin with.
    """
    rows = stored.rows
    if rows is None or not stored.entries or stored.codec not in TABLE_CODECS or wanted[-1] >= len(rows):
        return None
    if rows["shown"].min() < 0 or rows["shown"].max() >= len(rows) or not rows["entry"][0]:
        return None
    groups = needed_rows(rows, wanted)
    return None if any((group["position"] < 0).any() for group in groups) else groups


def read_rows(path: Location, rows: NDArray[Any]) -> list[bytes]:
    """Reads packets at the positions that a table gives.

    Args:
        path: the video file.
        rows: DTYPE [packets].

    Raises:
        OSError: the file cannot be read.
    """
    return _read(path, rows["position"], rows["size"].astype(np.int64))


def from_table(path: Location, stored: Stored, wanted: NDArray[np.int64]) -> Groups | None:
    """Reads the packets that frames depend on at the positions that a packet table gives. Arguments and result as table_rows.

    Raises:
        OSError: the file cannot be read.
    """
    groups = table_rows(stored, wanted)
    if groups is None:
        return None
    chunks = iter(read_rows(path, np.concatenate(groups)))
    return [[_packet(next(chunks), row) for row in group[["shown", "key"]].tolist()] for group in groups]


def from_container(
    container: av.container.InputContainer, stream: av.VideoStream, stored: Stored, wanted: NDArray[np.int64]
) -> Groups | None:
    """Reads through a file and keeps the packets that frames depend on. Arguments and result as in from_table."""
    packets: list[av.Packet[Any]] = []
    with closing(packets_of(container, stream)) as read:
        for packet in read:
            # In closed groups what comes after the last wanted frame's need not be read.
            if stored.closed_gops and packet.is_keyframe and len(packets) > wanted[-1]:
                break
            if packet.size:
                packets.append(packet)
    if wanted[-1] >= len(packets):
        return None
    times = np.array([packet.dts if packet.pts is None else packet.pts for packet in packets], np.int64)
    order = np.argsort(times, kind="stable")
    shown = np.empty_like(order)
    shown[order] = np.arange(len(order))
    keys = np.array([packet.is_keyframe for packet in packets])
    entries = entry_packets(shown, keys if stored.closed_gops else np.zeros_like(keys))
    size = length_size(stored.codec, stream.codec_context.extradata)
    indices = set(order[wanted].tolist())
    groups = []
    for start, end in packet_ranges(entries, order[wanted]):
        part = packets[start:end]
        needed = [True] * len(part)
        if stored.codec in READABLE:
            needed = needed_by_others([read_picture(stored.codec, memoryview(packet), size) for packet in part])
        for index, packet in enumerate(part, start):
            packet.pts, packet.dts = int(shown[index]), None
        groups.append([p for index, p in enumerate(part, start) if needed[index - start] or index in indices])
    return groups


def remux(groups: Groups, template: av.VideoStream, wanted: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Makes a small file of packets, for decoders that take files.

    Args:
        groups: from_table's or from_container's; used up.
        template: the stream that they are of.
        wanted: frame numbers, in any order.

    Returns:
        Matroska, uint8 [bytes]; and the wanted frames' numbers in it, int32 [wanted].
    """
    packets = [packet for group in groups for packet in group]
    numbers = np.array([packet.pts for packet in packets])
    kept = np.sort(numbers)
    ranks = np.searchsorted(kept, numbers)
    delay = int((np.arange(len(packets)) - ranks).max())  # no packet is shown before it is decoded
    target = io.BytesIO()
    with av.open(target, "w", format="matroska") as output:
        # opaque: what is copied is no matter of an encoder, of which AV1 here has none by the name of its decoder.
        stream = output.add_stream_from_template(template, opaque=True)
        for index, (packet, rank) in enumerate(zip(packets, ranks.tolist(), strict=True)):
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts, packet.dts = (rank + delay) * _FRAME_MS, index * _FRAME_MS
            packet.duration = _FRAME_MS
            output.mux(packet)
    return np.frombuffer(target.getbuffer(), np.uint8), np.searchsorted(kept, wanted).astype(np.int32)


def _packet(data: bytes, row: tuple[int, bool]) -> "av.Packet[Any]":
    packet: av.Packet[Any] = av.Packet(data)
    packet.pts, packet.is_keyframe = row
    return packet


def ask_ahead(path: RemotePath, rows: NDArray[Any]) -> None:
    """Asks a server for packets that read_rows will be called for soon. Arguments as there."""
    positions, sizes = rows["position"], rows["size"].astype(np.int64)
    ranges.ask_ahead(path, [(start, end) for start, end, _, _ in ranges.bridged(positions, sizes, ranges.BRIDGED_BYTES)])


def _read(path: Location, positions: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[bytes]:
    """Reads stretches of a file; those that lie close together in one request."""
    is_remote = isinstance(path, RemotePath)
    parts = ranges.bridged(positions, sizes, ranges.BRIDGED_BYTES if is_remote else _READ_TOGETHER)
    wanted = [(start, end) for start, end, _, _ in parts]
    ends = positions + sizes
    stretches: list[bytes] = []
    for data, (start, _, first, last) in zip(_read_parts(path, wanted), parts, strict=True):
        for at, to in zip(positions[first:last].tolist(), ends[first:last].tolist(), strict=True):
            stretches.append(bytes(data[at - start : to - start]))
    return stretches


def _read_parts(path: Location, parts: ranges.Parts) -> list[Any]:
    if isinstance(path, RemotePath):
        return ranges.read_parts(path, parts)
    found = []
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for start, end in parts:
            data = os.pread(file, end - start, start)
            if len(data) < end - start:
                raise OSError(f"ends at byte {start + len(data)}, within a packet")
            found.append(data)
    finally:
        os.close(file)
    return found
