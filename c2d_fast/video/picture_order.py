"""The order in which pictures are shown, by their own headers: what a container's timestamps are compared with.

After ITU-T H.264 (7.3.2.2, 7.3.3, 8.2.1) and H.265 (7.3.2.3.1, 7.3.6.1, 8.3.1), for pictures that are whole frames. Nothing is
decoded. No torch, no DALI.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from c2d_fast.video.nal import length_size, unit_ranges
from c2d_fast.video.parameter_sets import (
    BitReader,
    SequenceParameterSet,
    is_sequence,
    parameter_set_ranges,
    read_sequence,
    unescape,
)

_HEADER_BYTES = 64  # of a slice: more than its first fields take
_H264_SLICE, _H264_IDR, _H264_PICTURE_SET = 1, 5, 8
_HEVC_SLICES, _HEVC_ENTRIES, _HEVC_IDR, _HEVC_BLA, _HEVC_PICTURE_SET = range(32), range(16, 24), (19, 20), (16, 17, 18), 34
_HEVC_LEADING = range(6, 10)  # RADL and RASL


class _PictureSet(NamedTuple):
    sequence: int
    has_output_flag: bool = False
    extra_bits: int = 0


class PictureOrder:
    """Reads the pictures' headers of a stream, packet by packet in decoding order."""

    def __init__(self, codec: str, extradata: bytes | None):
        """Begins with the decoder's configuration.

        Args:
            codec: h264 or hevc.
            extradata: as the container has it.
        """
        self._codec, self._size = codec, length_size(codec, extradata)
        self._sequences: dict[int, SequenceParameterSet] = {}
        self._sets: dict[int, _PictureSet] = {}
        self._keys: list[tuple[int, int]] = []  # number of the coded sequence, and the picture's place in it
        self._is_known = True
        self._fields_seen = False
        self._before = (0, 0)  # of the picture that the next one's order is counted from: its higher bits, its last bits
        try:
            self._configure(extradata or b"")
        except (ValueError, IndexError):
            self._is_known = False

    def add(self, packet: memoryview) -> None:
        """Reads a packet, which must hold one picture."""
        if not self._is_known:
            return  # of the first packet that is not understood on, nothing more is asked
        try:
            key = self._read(packet)
        except (ValueError, KeyError, IndexError):
            key = None
        if key is None:
            self._is_known = False
        else:
            self._keys.append(key)

    @property
    def has_fields(self) -> bool:
        """Says whether a picture is a field; where the headers do not tell, whether one may be."""
        return self._fields_seen or (not self._is_known and any(one.may_have_fields for one in self._sequences.values()))

    def shown(self) -> NDArray[np.int64] | None:
        """Returns the number of the frame that each packet becomes, int64 [packets]; None where the headers do not tell."""
        if not self._is_known or len(set(self._keys)) < len(self._keys):
            return None
        return np.argsort(np.lexsort(np.array(self._keys, np.int64).reshape(-1, 2).T[::-1]))

    def _configure(self, extradata: bytes) -> None:
        if not self._size:
            for start, end in unit_ranges(memoryview(extradata), 0):
                self._take_set(extradata[start:end])
            return
        for start, end in parameter_set_ranges(self._codec, extradata, all_kinds=True):
            self._take_set(extradata[start:end])

    def _take_set(self, unit: bytes) -> None:
        if is_sequence(self._codec, unit[0]):
            sequence = read_sequence(self._codec, unit)
            self._sequences[sequence.identity] = sequence
        elif self._codec == "h264" and unit[0] & 31 == _H264_PICTURE_SET:
            read = BitReader(unescape(unit[1:_HEADER_BYTES]))
            self._sets[read.exp_golomb()] = _PictureSet(read.exp_golomb())
        elif self._codec == "hevc" and unit[0] >> 1 & 63 == _HEVC_PICTURE_SET:
            read = BitReader(unescape(unit[2:_HEADER_BYTES]))
            identity, sequence_identity = read.exp_golomb(), read.exp_golomb()
            read.bits(1)
            self._sets[identity] = _PictureSet(sequence_identity, bool(read.bits(1)), read.bits(3))

    def _read(self, packet: memoryview) -> tuple[int, int] | None:
        """Returns the key of the packet's picture; None where it has none, more than one, or one that is not understood."""
        key = None
        for start, end in unit_ranges(packet, self._size):
            header = packet[start]
            kind = header & 31 if self._codec == "h264" else header >> 1 & 63
            if self._codec == "h264" and kind in (_H264_SLICE, _H264_IDR):
                is_first, read = self._begin_slice(bytes(packet[start + 1 : min(end, start + _HEADER_BYTES)]))
                if is_first:
                    if key is not None:
                        return None
                    key = self._h264_key(read, is_idr=kind == _H264_IDR, is_reference=bool(header >> 5 & 3))
            elif self._codec == "hevc" and kind in _HEVC_SLICES:
                data = unescape(bytes(packet[start + 2 : min(end, start + _HEADER_BYTES)]))
                read = BitReader(data)
                if read.bits(1):
                    if key is not None:
                        return None
                    key = self._hevc_key(read, kind, temporal_id=(packet[start + 1] & 7) - 1)
            elif (self._codec == "h264" and kind in (7, 8)) or (self._codec == "hevc" and kind in (33, 34)):
                self._take_set(bytes(packet[start:end]))
        return key

    @staticmethod
    def _begin_slice(data: bytes) -> tuple[bool, BitReader]:
        read = BitReader(unescape(data))
        return read.exp_golomb() == 0, read  # its first macroblock

    def _h264_key(self, read: BitReader, *, is_idr: bool, is_reference: bool) -> tuple[int, int] | None:
        read.exp_golomb()  # kind of slice
        sequence = self._sequences[self._sets[read.exp_golomb()].sequence]
        number = self._keys[-1][0] + 1 if is_idr and self._keys else self._keys[-1][0] if self._keys else 0
        if sequence.has_planes:
            read.bits(2)
        read.bits(sequence.frame_number_bits)
        if sequence.may_have_fields and read.bits(1):
            self._fields_seen = True
            return None
        if sequence.order_kind == 1:
            return None
        if sequence.order_kind == 2:  # shown as decoded
            return number, 0 if is_idr or not self._keys else self._keys[-1][1] + 1
        if is_idr:
            read.exp_golomb()
            self._before = (0, 0)
        return number, self._order(read.bits(sequence.order_bits), sequence.order_bits, counts=is_reference)

    def _hevc_key(self, read: BitReader, kind: int, temporal_id: int) -> tuple[int, int] | None:
        if kind in _HEVC_ENTRIES:
            read.bits(1)
        picture_set = self._sets[read.exp_golomb()]
        sequence = self._sequences[picture_set.sequence]
        read.bits(picture_set.extra_bits)
        read.exp_golomb()  # kind of slice
        self._fields_seen |= sequence.may_have_fields
        if sequence.may_have_fields or (picture_set.has_output_flag and not read.bits(1)):
            return None
        if sequence.has_planes:
            read.bits(2)
        begins = kind in _HEVC_IDR or kind in _HEVC_BLA
        number = (self._keys[-1][0] + begins) if self._keys else 0
        if begins:
            self._before = (0, 0)
        last_bits = 0 if kind in _HEVC_IDR else read.bits(sequence.order_bits)
        if kind in _HEVC_BLA:
            self._before = (0, last_bits)
        counts = temporal_id == 0 and kind not in _HEVC_LEADING and (kind % 2 == 1 or kind >= 16)
        return number, self._order(last_bits, sequence.order_bits, counts=counts)

    def _order(self, last_bits: int, bits: int, *, counts: bool) -> int:
        """Returns the picture's place from its last bits: the one nearest to the picture that is counted from."""
        high, low = self._before
        size = 1 << bits
        if last_bits < low and low - last_bits >= size // 2:
            high += size
        elif last_bits > low and last_bits - low > size // 2:
            high -= size
        if counts:
            self._before = (high, last_bits)
        return high + last_bits
