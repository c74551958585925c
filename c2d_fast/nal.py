"""Reads the headers of H.264 and HEVC packets: whether a picture is one that others depend on, and whether all can start at it.

After ITU-T H.264 (7.3.1, table 7-1) and H.265 (7.3.1.2, table 7-1). Nothing of a picture is decoded.
"""

from collections.abc import Iterator
from typing import NamedTuple

_H264_SLICES = range(1, 6)
_H264_IDR = 5
_HEVC_SLICES = range(32)
_HEVC_IRAP = range(16, 24)
_HEVC_SUBLAYER_NON_REFERENCE = frozenset(range(0, 16, 2))


class Picture(NamedTuple):
    """What the first slice of a packet says."""

    is_reference: bool
    """Whether other pictures may depend on it."""
    is_entry: bool
    """Whether the pictures that follow it in decoding order and in showing order need nothing from before it."""
    temporal_id: int
    """HEVC's temporal sub-layer; 0 in H.264."""


def length_size(codec: str, extradata: bytes | None) -> int:
    """Returns how many bytes hold a unit's length (mp4's form), or 0 where start codes part the units.

    Args:
        codec: h264 or hevc.
        extradata: the decoder's configuration, as the container has it.
    """
    at = {"h264": 4, "hevc": 21}[codec]
    if not extradata or len(extradata) <= at or extradata[:3] == b"\0\0\1" or extradata[:4] == b"\0\0\0\1":
        return 0
    return (extradata[at] & 3) + 1


def first_picture(codec: str, packet: memoryview, size: int) -> Picture | None:
    """Returns what the first slice of a packet says; None where it has none.

    Args:
        codec: h264 or hevc.
        packet: its bytes.
        size: from length_size.
    """
    for at in _units(packet, size):
        header = packet[at]
        if codec == "h264":
            kind = header & 31
            if kind in _H264_SLICES:
                return Picture(bool(header >> 5 & 3), kind == _H264_IDR, 0)
        elif at + 1 < len(packet) and (kind := header >> 1 & 63) in _HEVC_SLICES:
            return Picture(kind not in _HEVC_SUBLAYER_NON_REFERENCE, kind in _HEVC_IRAP, (packet[at + 1] & 7) - 1)
    return None


def _units(packet: memoryview, size: int) -> Iterator[int]:
    """Yields where the units of a packet begin."""
    if size:
        at = 0
        while at + size < len(packet):
            yield at + size
            at += size + int.from_bytes(packet[at : at + size], "big")
        return
    data = bytes(packet)
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 3:
        yield at + 3
        at = data.find(b"\0\0\1", at + 3)
