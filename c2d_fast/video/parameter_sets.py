"""Reads and rewrites sequence parameter sets: the size that pictures are coded in, what is cropped from it, and fields.

After ITU-T H.264 (7.3.2.1.1) and H.265 (7.3.2.2, 7.3.3). No torch, no DALI.
"""

from collections.abc import Callable
from dataclasses import dataclass

_ESCAPE = b"\0\0\3"
_MOST_IN_CYCLE = 255
_H264_SET, _HEVC_SET = 7, 33
_H264_WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_H264_WITH_INTRA = frozenset({100, 110, 122, 244})
_SET3 = 0x10  # constraint_set3_flag; with other profiles it means something else


@dataclass(frozen=True)
class SequenceParameterSet:
    """What a sequence parameter set says of its pictures, in pixels."""

    width: int
    """As coded: of H.264 a multiple of 16."""
    height: int
    left: int
    """Cropped from the coded picture before it is shown, as are the three that follow."""
    right: int
    top: int
    bottom: int
    may_have_fields: bool
    """Whether pictures may be fields: in H.264 each says it, in HEVC all are where the source was interlaced."""
    identity: int
    """The number by which picture parameter sets name it."""
    frame_number_bits: int
    """Of H.264: length of a frame's number in a slice's header."""
    order_kind: int
    """How the order of pictures is coded; 0: by its last bits. Always so in HEVC."""
    order_bits: int
    """How many of them."""
    has_planes: bool
    """Whether colours are coded apart from each other."""
    is_intra_profile: bool
    """Of H.264: whether it promises that no picture depends on another, as x264 does where every picture is a key frame."""

    @property
    def is_cropped(self) -> bool:
        """Whether less is shown than is coded."""
        return bool(self.left or self.right or self.top or self.bottom)

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of what is shown."""
        return self.width - self.left - self.right, self.height - self.top - self.bottom


class BitReader:
    """Reads bits, most significant first."""

    def __init__(self, data: bytes):
        """Begins at the first bit of data."""
        self._value, self._length, self.at = int.from_bytes(data, "big"), 8 * len(data), 0

    def bits(self, count: int) -> int:
        """Returns the next bits as a number."""
        self.at += count
        if self.at > self._length:
            raise ValueError("a parameter set ends too early")
        return self._value >> (self._length - self.at) & ((1 << count) - 1)

    def exp_golomb(self) -> int:
        """Returns the next unsigned Exp-Golomb code."""
        zeros = 0
        while not self.bits(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("a parameter set holds a number that is too large")
        return (1 << zeros) - 1 + self.bits(zeros)


def read_sequence(codec: str, unit: bytes) -> SequenceParameterSet:
    """Reads a sequence parameter set.

    Args:
        codec: h264 or hevc.
        unit: the unit with its header, and without start code or length.

    Raises:
        ValueError: it ends too early.
    """
    return _parse(codec, unescape(unit))[0]


def without_cropping(codec: str, unit: bytes) -> bytes:
    """Returns the same set with nothing cropped; all else of it is as it was.

    A decoder then puts out the coded picture, of which the shown one is a part, pixel for pixel.

    Raises:
        ValueError: it ends too early.
    """
    data = unescape(unit)
    _, start, end = _parse(codec, data)
    length = 8 * len(data)
    value = int.from_bytes(data, "big")
    stop = (value & -value).bit_length() - 1  # the last bit that is 1 ends the set: behind it there are zeros
    rest_length = length - end - stop - 1
    head = value >> (length - start) << 1  # the flag becomes 0, and the four numbers behind it go
    bits = (head << rest_length | value >> (stop + 1) & ((1 << rest_length) - 1)) << 1 | 1
    count = start + 1 + rest_length + 1
    padded = -count % 8
    return _escaped((bits << padded).to_bytes((count + padded) // 8, "big"))


def without_intra_profile(codec: str, unit: bytes) -> bytes:
    """Returns the same set of H.264 without the promise that no picture depends on another; others as they are.

    Pictures decode as before. DALI 2.4 fails on the promise: see docs/decisions/0012.
    """
    if codec != "h264" or unit[1] not in _H264_WITH_INTRA:
        return unit
    return unit[:2] + bytes([unit[2] & ~_SET3]) + unit[3:]


def is_sequence(codec: str, header: int) -> bool:
    """Says whether a unit whose first byte this is holds a sequence parameter set."""
    return header & 31 == _H264_SET if codec == "h264" else codec == "hevc" and header >> 1 & 63 == _HEVC_SET


def _parse(codec: str, data: bytes) -> tuple[SequenceParameterSet, int, int]:
    """Returns the sequence, and the bits at which the cropping flag begins and its numbers end."""
    return _parse_h264(data) if codec == "h264" else _parse_hevc(data)


def _parse_h264(data: bytes) -> tuple[SequenceParameterSet, int, int]:
    read = BitReader(data[1:])
    profile, constraints = read.bits(8), read.bits(8)
    read.bits(8)  # level
    identity = read.exp_golomb()
    chroma, has_planes = 1, False
    if profile in _H264_WITH_CHROMA:
        chroma = read.exp_golomb()
        if chroma == 3:
            has_planes = bool(read.bits(1))
        read.exp_golomb(), read.exp_golomb()  # bit depths
        read.bits(1)
        if read.bits(1):
            for place in range(8 if chroma != 3 else 12):
                if read.bits(1):
                    _skip_scaling_list(read, 16 if place < 6 else 64)
    frame_number_bits = read.exp_golomb() + 4
    order_kind, order_bits = read.exp_golomb(), 0
    if order_kind == 0:
        order_bits = read.exp_golomb() + 4
    elif order_kind == 1:
        read.bits(1)
        read.exp_golomb(), read.exp_golomb()
        count = read.exp_golomb()
        if count > _MOST_IN_CYCLE:
            raise ValueError("a parameter set holds a number that is too large")
        for _ in range(count):
            read.exp_golomb()
    read.exp_golomb()  # reference frames
    read.bits(1)
    width, map_units = 16 * (read.exp_golomb() + 1), read.exp_golomb() + 1
    frames_only = read.bits(1)
    if not frames_only:
        read.bits(1)
    read.bits(1)
    unit_x = 1 if chroma in (0, 3) else 2
    unit_y = (2 if chroma == 1 else 1) * (2 - frames_only)
    start = read.at
    edges = _edges(read, unit_x, unit_y)
    height = 16 * map_units * (2 - frames_only)
    sequence = SequenceParameterSet(
        width,
        height,
        *edges,
        may_have_fields=not frames_only,
        identity=identity,
        frame_number_bits=frame_number_bits,
        order_kind=order_kind,
        order_bits=order_bits,
        has_planes=has_planes,
        is_intra_profile=profile in _H264_WITH_INTRA and bool(constraints & _SET3),
    )
    return sequence, 8 + start, 8 + read.at


def _parse_hevc(data: bytes) -> tuple[SequenceParameterSet, int, int]:
    read = BitReader(data[2:])
    read.bits(4)
    sublayers = read.bits(3)
    read.bits(1)
    read.bits(41)  # profile, and whether the source is progressive
    is_interlaced = bool(read.bits(1))
    read.bits(46 + 8)  # other constraints, level
    present = [(read.bits(1), read.bits(1)) for _ in range(sublayers)]
    if sublayers:
        read.bits(2 * (8 - sublayers))
    for profile, level in present:
        read.bits(88 * profile + 8 * level)
    identity, chroma = read.exp_golomb(), read.exp_golomb()
    has_planes = chroma == 3 and bool(read.bits(1))
    width, height = read.exp_golomb(), read.exp_golomb()
    start = read.at
    edges = _edges(read, 2 if chroma in (1, 2) else 1, 2 if chroma == 1 else 1)
    end = read.at
    read.exp_golomb(), read.exp_golomb()  # bit depths
    sequence = SequenceParameterSet(
        width,
        height,
        *edges,
        may_have_fields=is_interlaced,
        identity=identity,
        frame_number_bits=0,
        order_kind=0,
        order_bits=read.exp_golomb() + 4,
        has_planes=has_planes,
        is_intra_profile=False,
    )
    return sequence, 16 + start, 16 + end


def _edges(read: BitReader, unit_x: int, unit_y: int) -> tuple[int, int, int, int]:
    if not read.bits(1):
        return 0, 0, 0, 0
    left, right, top, bottom = (read.exp_golomb() for _ in range(4))
    return unit_x * left, unit_x * right, unit_y * top, unit_y * bottom


def _skip_scaling_list(read: BitReader, size: int) -> None:
    last = 8
    for _ in range(size):
        code = read.exp_golomb()
        last = (last + (-(code // 2) if code % 2 == 0 else (code + 1) // 2)) % 256
        if not last:
            break


def unescape(unit: bytes) -> bytes:
    """Returns a unit without the bytes that keep start codes out of it."""
    return unit.replace(_ESCAPE, b"\0\0")


def _escaped(data: bytes) -> bytes:
    escaped, zeros = bytearray(), 0
    for byte in data:
        if zeros == 2 and byte <= 3:
            escaped.append(3)
            zeros = 0
        escaped.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(escaped)


def parameter_set_ranges(codec: str, extradata: bytes, *, all_kinds: bool = False) -> list[tuple[int, int]]:
    """Returns where parameter sets lie in an mp4's configuration of a decoder (ISO 14496-15): (first byte, end) of each.

    Args:
        codec: h264 or hevc.
        extradata: the configuration.
        all_kinds: also those of pictures (and HEVC's others), not of sequences only.

    Raises:
        ValueError, IndexError: it ends too early.
    """
    ranges, at = [], 5 if codec == "h264" else 23
    arrays = 2 if codec == "h264" else extradata[22]
    for array in range(arrays):
        if codec == "h264":
            if array and at == len(extradata):
                break
            is_sequence_set, count, at = array == 0, extradata[at] & (255 if array else 31), at + 1
        else:
            is_sequence_set = extradata[at] & 63 == _HEVC_SET
            count, at = int.from_bytes(extradata[at + 1 : at + 3], "big"), at + 3
        for _ in range(count):
            end = at + 2 + int.from_bytes(extradata[at : at + 2], "big")
            if end > len(extradata) or end == at + 2:
                raise ValueError("a decoder's configuration ends too early")
            if is_sequence_set or all_kinds:
                ranges.append((at + 2, end))
            at = end
    return ranges


def replace_units(data: bytes, ranges: list[tuple[int, int]], width: int, change: Callable[[bytes], bytes]) -> bytes:
    """Returns data in which units are replaced, each of which stands behind its length.

    Args:
        data: a packet, or a decoder's configuration.
        ranges: (first byte, end) of each unit, without its length.
        width: bytes of a length.
        change: makes the new unit of the old.
    """
    parts, at = [], 0
    for start, end in ranges:
        unit = change(data[start:end])
        parts += [data[at : start - width], len(unit).to_bytes(width, "big"), unit]
        at = end
    return b"".join([*parts, data[at:]])
