"""Reads the headers of packets: which others depend on, where all can start, what they set the decoder up with.

After ITU-T H.264 (7.3.1, table 7-1), H.265 (7.3.1.2, table 7-1) and ISO 14496-2 (6.2.5). Nothing of a picture is decoded.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

_H264_SLICES = range(1, 6)
_H264_IDR = 5
_H264_SETS = (7, 8, 13, 15)
_H264_SEI, _HEVC_SEI = 6, 39
_FILM_GRAIN = 19
_HEVC_SLICES = range(32)
_HEVC_IRAP = range(16, 24)
_HEVC_SETS = (32, 33, 34)
_HEVC_SUBLAYER_NON_REFERENCE = frozenset(range(0, 16, 2))
_VOP, _GROUP_OF_VOPS = b"\0\0\1\xb6", b"\0\0\1\xb3"
_I_VOP, _B_VOP = 0, 2

READABLE = frozenset({"h264", "hevc", "mpeg4"})
"""Codecs whose packets are looked into; of the others every packet counts as one that others depend on."""


class Picture(NamedTuple):
    """What the headers of a packet say."""

    is_reference: bool
    """Whether other pictures may depend on one of its slices."""
    is_entry: bool
    """Whether the pictures that follow it in decoding order and in showing order need nothing from before it."""
    temporal_id: int
    """HEVC's temporal sub-layer; 0 in H.264."""
    parameter_sets: bytes
    """What it sets the decoder up with, from here on; mostly nothing."""
    has_grain: bool = False
    """Whether it asks for film grain, which depends on how many entries a decoder has seen."""


def length_size(codec: str, extradata: bytes | None) -> int:
    """Returns how many bytes hold a unit's length (mp4's form), or 0 where start codes part the units.

    Args:
        codec: FFmpeg's name.
        extradata: the decoder's configuration, as the container has it.
    """
    at = {"h264": 4, "hevc": 21}.get(codec)
    if at is None or not extradata or len(extradata) <= at or extradata[:3] == b"\0\0\1" or extradata[:4] == b"\0\0\0\1":
        return 0
    return (extradata[at] & 3) + 1


def read_picture(codec: str, packet: memoryview, size: int) -> Picture:
    """Returns what the headers of a packet say; of one without a slice, that others depend on it.

    Args:
        codec: one of READABLE.
        packet: its bytes.
        size: from length_size.
    """
    if codec == "mpeg4":
        return _read_vop(bytes(packet))
    references, entries, layers, sets, has_grain = [], [], [], [], False
    for start, end in unit_ranges(packet, size):
        unit, header = packet[start:end], packet[start]
        if codec == "h264":
            kind = header & 31
            if kind in _H264_SLICES:
                references.append(bool(header >> 5 & 3))
                entries.append(kind == _H264_IDR)
                layers.append(0)
            elif kind == _H264_SEI:
                has_grain |= unit[1:2] == bytes([_FILM_GRAIN])
            elif kind in _H264_SETS:
                sets.append(bytes(unit))
        else:
            kind = header >> 1 & 63
            if kind in _HEVC_SLICES and len(unit) > 1:
                references.append(kind not in _HEVC_SUBLAYER_NON_REFERENCE)
                entries.append(kind in _HEVC_IRAP)
                layers.append((unit[1] & 7) - 1)
            elif kind == _HEVC_SEI:
                has_grain |= unit[2:3] == bytes([_FILM_GRAIN])
            elif kind in _HEVC_SETS:
                sets.append(bytes(unit))
    is_reference, is_entry = any(references) or not references, bool(entries) and entries[0]
    return Picture(is_reference, is_entry, max(layers, default=0), b"".join(sets), has_grain)


def needed_by_others(pictures: Sequence[Picture]) -> list[bool]:
    """Says which packets others may depend on, of those that are decoded together."""
    top = max((picture.temporal_id for picture in pictures), default=0)
    # A picture of a lower layer may still serve a higher one.
    return [p.is_reference or p.temporal_id < top or bool(p.parameter_sets) for p in pictures]


def _read_vop(data: bytes) -> Picture:
    at = data.find(_VOP)
    if not 0 <= at < len(data) - 4:
        return Picture(True, False, 0, b"")
    kind, group = data[at + 4] >> 6, data.find(_GROUP_OF_VOPS, 0, at)
    return Picture(kind != _B_VOP, kind == _I_VOP, 0, data[: at if group < 0 else group])


def unit_ranges(packet: memoryview, size: int) -> Iterator[tuple[int, int]]:
    """Yields where the units of a packet lie, none of them empty: (first byte, end).

    Args:
        packet: its bytes.
        size: from length_size.
    """
    if size:
        at = 0
        while at + size < len(packet):
            end = at + size + int.from_bytes(packet[at : at + size], "big")
            if end > at + size:
                yield at + size, min(end, len(packet))
            at = end
        return
    data = bytes(packet)
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 3:
        end = data.find(b"\0\0\1", at + 3)
        yield at + 3, end if end >= 0 else len(data)
        at = end
