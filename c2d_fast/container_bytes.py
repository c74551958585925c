"""Compares what containers (mp4, Matroska, AVI) say about their bytes with the bytes of the file."""

from pathlib import Path

import av
import av.container

from c2d_fast.video import DecodeError, open_video, video_stream

_RIFF_SLACK = 64
_LONGEST_HEADER = 32  # that a container puts before a packet's bytes


def check_whole(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> None:
    """Compares a file's size with what its container says; containers that say nothing pass.

    Raises:
        DecodeError: the file ends too early.
    """
    size = path.stat().st_size
    name = container.format.name
    end = 0
    if name.startswith("mov"):
        end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    elif name == "avi":
        end = _riff_end(path, size)
    elif name.startswith("matroska"):
        with path.open("rb") as file:
            end = _segment_end(file.read(4096))
    if end > size:
        raise DecodeError(f"is truncated: it has {size} bytes of at least {end}")


def locate_packets(path: Path) -> list[int]:
    """Returns the byte at which each packet of the video begins; -1 of those that do not lie in the file in one piece.

    Containers say it exactly, or say where what they put before a packet's bytes begins.

    Raises:
        av.FFmpegError, OSError: the file cannot be read.
    """
    positions = []
    with open_video(path) as container, path.open("rb") as file:
        for packet in container.demux(video_stream(container)):
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


def _segment_end(head: bytes) -> int:
    """Returns the byte at which a Matroska file's segment ends; 0 where it does not say (RFC 8794 and 9559)."""
    at = head.find(b"\x18\x53\x80\x67") + 4
    if at < 4 or at >= len(head) or not head[at]:
        return 0
    width = 9 - head[at].bit_length()
    size = int.from_bytes(head[at : at + width], "big") & ((1 << 7 * width) - 1)
    return 0 if size == (1 << 7 * width) - 1 else at + width + size
