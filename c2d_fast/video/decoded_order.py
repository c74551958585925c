"""Counts frames, and finds the order in which packets become frames, by decoding. Child processes import it: no torch, no DALI.

Timestamps may be missing (AVI), or be the decoder's times in place of the viewer's. They are believed where the pictures' own
headers give the same order and the decoder keeps to it in the first pictures; otherwise the decoder is asked for all of them.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from c2d_fast.video.demuxed import frames_of, packets_of
from c2d_fast.video.reader import open_video, video_stream
from c2d_fast.video.timestamps import is_increasing

_FIRST = 20
"""Pictures that are decoded: more than a decoder may hold back, which is where it could go wrong."""


def gives_order(
    path: Path, times: NDArray[np.int64], by_headers: NDArray[np.int64] | None, tick: Callable[[], object] = lambda: None
) -> bool:
    """Says whether the order of the timestamps is that of the decoder's frames.

    Args:
        path: the file, each of whose packets becomes one frame.
        times: of its packets, int64 [packets].
        by_headers: the number of the frame that each packet becomes, int64 [packets]; None where headers do not tell.
        tick: called again and again as reading gets on.
    """
    by_time = np.argsort(np.argsort(times, kind="stable"))
    if by_headers is not None:
        if not np.array_equal(by_headers, by_time):
            return False
        if (np.diff(by_time) > 0).all():
            return True  # nothing is reordered: there is nothing to go wrong
    most = None if by_headers is None else _FIRST
    try:
        order = decoded_order(path, tick, most)
    except av.FFmpegError:  # whether a damaged file is of use is not asked here
        return by_headers is not None
    return bool(order == np.argsort(by_time[:most]).tolist())


def decoded_order(path: Path, tick: Callable[[], object] = lambda: None, most: int | None = None) -> list[int | None]:
    """Decodes a file and returns the number of the packet that each frame is of, in the order in which frames come out.

    Args:
        path: the file.
        tick: called again and again as reading gets on.
        most: packets to decode; None for all.

    Returns:
        None for a frame that the decoder gives no packet's number.

    Raises:
        DecodeError, av.FFmpegError, OSError: it does not open or decode.
    """
    order: list[int | None] = []
    with open_video(path) as container:
        stream = video_stream(container)
        context, number = stream.codec_context, 0
        context.thread_count = 1
        with closing(packets_of(container, stream)) as packets:
            for packet in packets:
                tick()
                if packet.size and number == most:
                    break
                if packet.size:
                    # A decoder hands a packet's time on to its frame, and looks at none itself.
                    packet.pts, packet.dts = number, None
                    number += 1
                    order.extend(frame.pts for frame in context.decode(packet))
            order.extend(frame.pts for frame in context.decode(None))
    return order


def count_frames(path: Path, tick: Callable[[], object]) -> tuple[int, bool]:
    """Decodes everything, as training does; returns the number of frames, and whether their timestamps rise.

    Raises:
        DecodeError, av.FFmpegError, OSError: it does not open or decode.
    """
    with open_video(path) as container:
        stream, times = video_stream(container), []
        stream.codec_context.thread_count = 1
        for frame in frames_of(container, stream):
            tick()
            times.append(frame.pts)
    return len(times), is_increasing(times)
