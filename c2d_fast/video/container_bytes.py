"""Compares what containers (mp4, Matroska, AVI) say about their bytes with the bytes of the file."""

from pathlib import Path

import av
import av.container

from c2d_fast.video.demuxed import packets_of
from c2d_fast.video.reader import DecodeError, open_video, video_stream

_RIFF_SLACK = 64
_BOXES = frozenset(
    (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"ssix", b"emsg", b"prft", b"free", b"skip", b"uuid")
)
_SEGMENT = b"\x18\x53\x80\x67"
# Cluster, SeekHead, Info, Tracks, Cues, Tags, Chapters, Attachments, Void, CRC-32
_IN_SEGMENT = "1f43b675 114d9b74 1549a966 1654ae6b 1c53bb6b 1254c367 1043a770 1941a469 ec bf"
_IN_CLUSTER = "e7 a3 a0 a7 ab 5854 af"  # Timestamp, SimpleBlock, BlockGroup, Position, PrevSize, SilentTracks, EncryptedBlock
_ELEMENTS = frozenset(bytes.fromhex(number) for number in f"{_SEGMENT.hex()} {_IN_SEGMENT} {_IN_CLUSTER}".split())
_LONGEST_ELEMENT_HEADER = 12
_LONGEST_HEADER = 32  # that a container puts before a packet's bytes


def missing_bytes(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream, *, must_be_whole: bool = False
) -> int:
    """Returns how many bytes at least the file lacks of what its container says; 0 where it says nothing.

    Raises:
        DecodeError: it lacks some, and must be whole.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    name = container.format.name
    end = 0
    if name.startswith("mov"):
        end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
        end = max(end, _fragments_end(path, size))
    elif name == "avi":
        end = _riff_end(path, size)
    elif name.startswith("matroska"):
        end = _segment_end(path, size)
    if end > size and must_be_whole:
        raise DecodeError(f"is truncated: it has {size} bytes of at least {end}")
    return max(end - size, 0)


def locate_packets(path: Path) -> list[int]:
    """Returns the byte at which each packet of the video begins; -1 of those that do not lie in the file in one piece.

    Containers say it exactly, or say where what they put before a packet's bytes begins.

    Raises:
        av.FFmpegError, OSError: the file cannot be read.
    """
    positions = []
    with open_video(path) as container, path.open("rb") as file:
        for packet in packets_of(container, video_stream(container)):
            if packet.size:
                at, start = -1, -1 if packet.pos is None else packet.pos
                if start >= 0:
                    file.seek(start)
                    at = file.read(packet.size + _LONGEST_HEADER).find(bytes(packet))
                positions.append(start + at if at >= 0 else -1)
    return positions


def _riff_end(path: Path, size: int) -> int:
    """Returns the byte at which an AVI file ends by its own word.

    Writers are known that count some bytes too many for the whole: where it is but a few, its parts decide, each of which
    says its own length.
    """
    with path.open("rb") as file:
        end = 8 + int.from_bytes(file.read(8)[4:], "little")
        if not size < end <= size + _RIFF_SLACK:
            return end
        at = 12  # behind RIFF, its length and the form's name
        while at + 8 <= size:
            file.seek(at + 4)
            at += 8 + int.from_bytes(file.read(4), "little")
            if at > size:
                return end
            at += at % 2
    return size


def _fragments_end(path: Path, size: int) -> int:
    """Returns the byte at which an mp4 file in fragments ends by its boxes (ISO 14496-12, 4.2); 0 of one in one piece."""
    at, is_fragmented = 0, False
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8 or head[4:8] not in _BOXES:  # 0: to the end of the file; otherwise what has been added to it
                break
            is_fragmented |= head[4:8] == b"moof"
            at += length
    return at if is_fragmented else 0


def _segment_end(path: Path, size: int) -> int:
    """Returns the byte at which a Matroska file's segment ends by its own word (RFC 8794 and 9559).

    One that was written while it was sent does not say: there the elements in it decide, each of which says its own length.
    """
    with path.open("rb") as file:
        at = file.read(4096).find(_SEGMENT)
        while 0 <= at < size:
            file.seek(at)
            head = file.read(_LONGEST_ELEMENT_HEADER)
            id_width = 9 - head[0].bit_length()
            if head[:id_width] not in _ELEMENTS:  # what has been added to the file
                break
            width = 9 - head[id_width].bit_length() if len(head) > id_width else 1
            unknown = (1 << 7 * width) - 1
            length = int.from_bytes(head[id_width : id_width + width], "big") & unknown
            is_segment = head[:id_width] == _SEGMENT
            at += id_width + width + (0 if length == unknown else length)  # of an unknown length: its own elements follow
            if is_segment and length != unknown:
                break
    return max(at, 0)
