"""What is known of a video file once it has been examined: the columns of a manifest. Numpy only."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib import recfunctions
from numpy.typing import NDArray

from c2d_fast.video.orientation import TRANSPOSED

DEPTHS = ("packets", "keyframes", "full")
"""How thoroughly a file was examined, each including those before it."""
MOST_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Facts:
    """One video file, as decoders need it and as `prepare scan` reports it. Numbers of H.273 are FFmpeg's, too."""

    frames: int
    """Frames that a full decode puts out, not what a header claims."""
    packets: int
    promised_frames: int
    """What the header claims; 0 where it says nothing."""
    width: int
    height: int
    """As it is shown: upright."""
    coded_width: int
    coded_height: int
    """The stored size, before the decoder cuts it and before it is turned."""
    fps: float
    """Frames in a second, on average; 0 where the file does not say."""
    constant_rate: bool
    """Whether all frames last equally long, to 2 ms."""
    codec: str
    """FFmpeg's name of it: h264, hevc, mpeg4, vp9 ..."""
    container: str
    """FFmpeg's name of it: mov, matroska, avi ..."""
    pix_fmt: str
    """FFmpeg's name of the decoded pixel format: yuv420p ..."""
    full_range: bool
    matrix: int
    """H.273's MatrixCoefficients: 1 BT.709, 2 unspecified, 5 and 6 BT.601 ..."""
    primaries: int
    transfer: int
    rotation: int
    """Degrees by which the container has the picture turned, counter-clockwise."""
    orientation: int
    """The same with mirrors, as orientation.py has it: what is done to every frame that is read."""
    interlaced: bool
    """Whether a frame that was decoded says so, or a picture is stored as a field."""
    audio: bool
    key_frames: int
    longest_gop: int
    """Most packets from one key frame to the next, or to the end."""
    reordered: bool
    """Whether packets are stored in another order than frames are shown: B-frames."""
    disposable: int
    """Packets that no other depends on; -1 where the codec is not asked."""
    closed_gops: bool
    """Whether decoding can start at every key frame, and the n-th shown packet is the n-th frame."""
    in_order: bool
    """Whether the order of the packets' timestamps is that of FFmpeg's frames, without a gap: DALI numbers by timestamps."""
    entries: int = 0
    """Packets at which decoding can begin, the first included, so that what is shown from there on needs nothing from before.
    0: it is not known which packets a frame depends on, and the file is decoded from its beginning, whole."""
    pixel_aspect: float = 0.0
    """Width of a pixel by its height, as players show it; 0 where the file does not say. Nothing here goes by it."""
    video_streams: int = 0
    """Without pictures of covers; 0: not known."""
    stream_index: int = 0
    """Place among all the file's streams of the one that is read."""
    missing_bytes: int = 0
    """That the file lacks at its end by its container's word, MOST_BYTES at most; a scan refuses such a file."""


_KINDS = {int: "<i4", bool: "?", float: "<f8", str: "S16"}
DTYPE = np.dtype([(field.name, _KINDS[field.type]) for field in dataclasses.fields(Facts)])  # type: ignore[index]
"""One element of a table of facts; names of codecs and formats are ASCII."""


READING = (
    *("frames", "packets", "width", "height", "coded_width", "coded_height", "codec", "container", "pix_fmt", "full_range"),
    *("matrix", "orientation", "interlaced", "closed_gops", "in_order", "entries"),
)
"""Columns that reading videos needs."""


def is_cropped(table: NDArray[Any]) -> NDArray[np.bool_]:
    """Says of each video whether its frames are coded larger than they are shown: bool [videos]."""
    is_transposed = (table["orientation"] & TRANSPOSED) > 0
    width = np.where(is_transposed, table["height"], table["width"])
    height = np.where(is_transposed, table["width"], table["height"])
    cropped: NDArray[np.bool_] = (table["coded_width"] > width) | (table["coded_height"] > height)
    return cropped & np.isin(table["codec"], [b"h264", b"hevc"])


def reading_columns(table: NDArray[Any]) -> NDArray[Any]:
    """Returns the columns of a table of facts that reading videos needs: a third of it."""
    return np.asarray(recfunctions.repack_fields(table[list(READING)]))  # type: ignore[no-untyped-call]


def to_table(facts: list[Facts]) -> NDArray[Any]:
    """Returns a structured array [videos] of DTYPE."""
    return np.array([dataclasses.astuple(row) for row in facts], DTYPE)


def from_values(values: Sequence[Any]) -> NDArray[Any]:
    """Returns a structured array [videos] of DTYPE: for each video the values of its Facts in their order; zeros for None."""
    table = np.zeros(len(values), DTYPE)
    for i, row in enumerate(values):
        if row is not None:
            table[i] = tuple(value.encode() if isinstance(value, str) else value for value in row)
    return table
