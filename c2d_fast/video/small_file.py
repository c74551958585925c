"""Writes a clip's packets as a small Matroska file, for decoders that take files. No FFmpeg, no torch, no DALI.

After RFC 8794 (EBML) and RFC 9559 (Matroska): one track, one cluster. To open the video file as a container and to write with
FFmpeg's muxer would take longer than all the rest of reading a clip.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.video.nal import length_size, unit_ranges
from c2d_fast.video.parameter_sets import (
    SequenceParameterSet,
    is_sequence,
    parameter_set_ranges,
    read_sequence,
    replace_units,
    without_cropping,
    without_intra_profile,
)

_CODEC_IDS = {
    "h264": b"V_MPEG4/ISO/AVC",
    "hevc": b"V_MPEGH/ISO/HEVC",
    "vp8": b"V_VP8",
    "vp9": b"V_VP9",
    "mjpeg": b"V_MJPEG",
}
_WITH_SETS = frozenset({"h264", "hevc"})
_MOST_PACKETS = 32_000  # a block's time is a number of 16 bits, with a sign
_NS_IN_A_FRAME = 1_000_000  # nobody looks at it


@dataclass(frozen=True)
class _Track:
    """What stands before the packets, and how they are to be changed."""

    head: bytes
    sequence: SequenceParameterSet | None = None
    """Of H.264 and HEVC: what all parameter sets of the configuration say."""
    length_size: int = 0
    change: Callable[[bytes], bytes] | None = None
    """What makes parameter sets for NVDEC of those that the packets bring along."""


def small_file(
    codec: str, extradata: bytes, size: tuple[int, int], packets: list[bytes], rows: NDArray[Any], *, clear_cropping: bool
) -> bytes | None:
    """Returns packets as a Matroska file, in which frames are numbered from 0 by their order in the video.

    Args:
        codec: FFmpeg's name of it.
        extradata: the decoder's configuration, as the container had it.
        size: width and height of the shown frames; of H.264 and HEVC their own headers count.
        packets: in decoding order.
        rows: their rows of the packet table, of which shown and key are used.
        clear_cropping: for NVDEC, have H.264 and HEVC decoded to the size that they are coded in, of which the shown frame is
            the upper left part, and take H.264 that is all key frames for what it may also be (without_intra_profile).

    Returns:
        None where this cannot be done: another codec, units parted by start codes, parameter sets that are not understood or
        differ, something to be cleared that is cropped at the left or the top.
    """
    try:
        track = _track(codec, extradata, size, clear_cropping)
        if track is None or len(packets) > _MOST_PACKETS:
            return None
        if track.sequence:
            found = [_sets_in(codec, packet, track.length_size) for packet in packets]
            if any({_sequence(codec, p[a:b]) for a, b in at} - {track.sequence} for p, at in zip(packets, found, strict=True)):
                return None
            if track.change:
                change = track.change
                packets = [replace_units(p, at, track.length_size, change) for p, at in zip(packets, found, strict=True)]
    except (ValueError, IndexError, OverflowError):
        return None
    ranks = np.argsort(np.argsort(rows["shown"])).tolist()
    blocks = [_TIME_ZERO]
    for packet, rank, is_key in zip(packets, ranks, rows["key"].tolist(), strict=True):
        # Simple block: of track 1, time, flags.
        blocks += [b"\xa3", _length(len(packet) + 4), b"\x81", rank.to_bytes(2, "big"), b"\x80" if is_key else b"\0", packet]
    cluster = _element(0x1F43B675, *blocks)
    return b"".join((_HEADER, b"\x18\x53\x80\x67", _length(len(track.head) + len(cluster)), track.head, cluster))


@lru_cache(maxsize=256)
def _track(codec: str, extradata: bytes, size: tuple[int, int], clear_cropping: bool) -> _Track | None:
    if codec not in _CODEC_IDS:
        return None
    if codec not in _WITH_SETS:
        return _Track(_head(codec, size, b"")) if min(size) > 0 else None
    units = length_size(codec, extradata)
    ranges = parameter_set_ranges(codec, extradata) if units else []
    found = {_sequence(codec, extradata[start:end]) for start, end in ranges}
    if len(found) != 1:
        return None
    (sequence,) = found
    clears = clear_cropping and sequence.is_cropped
    if clears and (sequence.left or sequence.top):
        return None
    is_intra = clear_cropping and sequence.is_intra_profile

    def change(unit: bytes) -> bytes:
        unit = without_cropping(codec, unit) if clears else unit
        return without_intra_profile(codec, unit) if is_intra else unit

    if clears or is_intra:
        extradata = replace_units(extradata, ranges, 2, change)
    if is_intra:  # the configuration begins with a copy of the same three bytes
        extradata = without_intra_profile(codec, extradata)
    size = (sequence.width, sequence.height) if clears else sequence.shown_size
    if min(size) <= 0:
        return None
    return _Track(_head(codec, size, extradata), sequence, units, change if clears or is_intra else None)


def _sequence(codec: str, unit: bytes) -> SequenceParameterSet:
    """Returns what a set says, whatever number it goes by."""
    return replace(read_sequence(codec, unit), identity=0)


def _head(codec: str, size: tuple[int, int], configuration: bytes) -> bytes:
    """Returns what describes the track: segment information and tracks."""
    video = _element(0xE0, _element(0xB0, _number(size[0])), _element(0xBA, _number(size[1])))
    entry = [_element(0xD7, b"\1"), _element(0x73C5, b"\1"), _element(0x83, b"\1"), _element(0x86, _CODEC_IDS[codec]), video]
    if configuration:
        entry.append(_element(0x63A2, configuration))
    information = _element(0x1549A966, _element(0x2AD7B1, _number(_NS_IN_A_FRAME)), _element(0x4D80), _element(0x5741))
    return information + _element(0x1654AE6B, _element(0xAE, *entry))


def _sets_in(codec: str, packet: bytes, size: int) -> list[tuple[int, int]]:
    return [(start, end) for start, end in unit_ranges(memoryview(packet), size) if is_sequence(codec, packet[start])]


def _element(identity: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return identity.to_bytes((identity.bit_length() + 7) // 8, "big") + _length(len(body)) + body


def _length(count: int) -> bytes:
    return (1 << 56 | count).to_bytes(8, "big")


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


_HEADER = _element(0x1A45DFA3, _element(0x4282, b"matroska"), _element(0x4287, b"\4"), _element(0x4285, b"\2"))
_TIME_ZERO = _element(0xE7, b"\0")
