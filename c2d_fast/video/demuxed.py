"""Reads a container's packets to their end, also where streams begin in its middle. No torch, no DALI."""

from collections.abc import Generator
from typing import Any

import av
import av.container


def packets_of(container: av.container.InputContainer, stream: av.VideoStream) -> "Generator[av.Packet[Any], None, None]":
    """Yields a stream's packets, and an empty one that has the decoder give what it holds back.

    In MPEG-TS streams may begin at any time; damage looks like that, too. PyAV 18 makes room for those that were there at the
    beginning, and fails with IndexError when it asks all for their last packet: after this stream has given its own.
    Close it where it is not read to the end: PyAV frees what it holds for reading only then.
    """
    try:
        yield from container.demux(stream)
    except IndexError:
        return


def frames_of(container: av.container.InputContainer, stream: av.VideoStream) -> Generator[av.VideoFrame, None, None]:
    """Yields a stream's frames, likewise.

    Raises:
        av.FFmpegError: one does not decode.
    """
    for packet in packets_of(container, stream):
        for frame in packet.decode():
            assert isinstance(frame, av.VideoFrame)
            yield frame
