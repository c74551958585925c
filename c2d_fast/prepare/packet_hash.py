"""Copies packet by packet: found by the sizes of packets, which a packet table knows, and confirmed by their bytes.

Nothing is decoded. What containers agree on is how many packets a video has and how long each is; where they lie, when they are
shown and which are key frames are the container's words. Sizes may be equal by chance, in videos of a few packets or of frames
that never change: only equal bytes make a copy.
"""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2d_fast.formats.packet_table import TableError
from c2d_fast.prepare.checked_lists import CheckedList, CheckedVideo
from c2d_fast.video.demuxed import packets_of
from c2d_fast.video.file_states import check_unchanged, local_file
from c2d_fast.video.packets import read_rows
from c2d_fast.video.reader import DecodeError, open_video, reason, video_stream
from c2d_fast.video.storage import sibling_files, storage_problem

_DIGEST = 16  # bytes
_READ_BYTES = 2**24


@dataclass(frozen=True)
class Hashed:
    """What a child process has found of a file."""

    values: tuple[str, ...] = ()
    """Hashes, hexadecimal; "" where there is none."""
    reason: str = ""
    """Why the file could not be read; empty if it could."""


def size_hashes(checked: CheckedList) -> tuple[NDArray[np.uint64], list[int]]:
    """Hashes the sizes of each video's packets, and the codec.

    Returns:
        uint64 [videos, 2], zeros of a video without packets in the table; and the rows of those.

    Raises:
        UserError: the table cannot be opened.
        TableError: it cannot be read.
    """
    codecs, packed, lacking = checked.scanned.facts["codec"].tolist(), bytearray(), []
    for row, (found, codec) in enumerate(zip(checked.open_table().each(), codecs, strict=True)):
        if found is None or not len(found[0]):
            packed += bytes(_DIGEST)
            lacking.append(row)
        else:
            packed += hashlib.blake2b(found[0]["size"].tobytes(), digest_size=_DIGEST, key=codec).digest()
    return np.frombuffer(packed, np.uint64).reshape(-1, 2), lacking


def repeated(hashes: NDArray[np.uint64]) -> list[NDArray[np.int64]]:
    """Returns the rows that are alike, where several are: each int64 [2 or more], in order; rows of zeros are none.

    Args:
        hashes: uint64 [videos, 2].
    """
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable
    ordered = hashes[order]
    ends = np.flatnonzero(np.append((ordered[1:] != ordered[:-1]).any(1), True)) + 1
    starts = np.append(0, ends[:-1])
    several = (ends - starts > 1) & (ordered[starts] != 0).any(1)
    return [order[start:end] for start, end in zip(starts[several].tolist(), ends[several].tolist(), strict=True)]


def hash_packets(video: CheckedVideo, tick: Callable[[], object]) -> Hashed:
    """Hashes the bytes of a file's packets, one after another; runs in a child process."""
    return hashed_or_why_not(video, lambda: (_hash_packets(video, tick),))


def hashed_or_why_not(video: CheckedVideo, make: Callable[[], tuple[str, ...]]) -> Hashed:
    """Returns what is made of a file, or why it cannot be: no file may end the check of the others."""
    try:
        check_unchanged(video.path, video.size, video.mtime_ns)
        return Hashed(make())
    except TableError as error:
        return Hashed(reason=f"is damaged in the packet table, which {error}; scan again")
    except MemoryError:
        return Hashed(reason="needs more memory than there is")
    except (DecodeError, OSError) as error:
        return Hashed(reason=storage_problem(error, video.path, lambda: sibling_files(video.path)) or reason(error))
    except Exception as error:
        return Hashed(reason=f"cannot be read ({type(error).__name__}: {error})")


def _hash_packets(video: CheckedVideo, tick: Callable[[], object]) -> str:
    digest, rows = hashlib.blake2b(digest_size=_DIGEST), video.with_rows().rows
    if rows is not None and (rows["position"] >= 0).all():
        part = (np.cumsum(rows["size"], dtype=np.int64) // _READ_BYTES).tolist()
        for _, some in itertools.groupby(range(len(rows)), part.__getitem__):
            numbers = list(some)
            for data in read_rows(video.path, rows[numbers[0] : numbers[-1] + 1]):
                digest.update(data)
            tick()
        return digest.hexdigest()
    # In pieces, or changed by its container: such packets are read through it.
    with local_file(video.path, tick) as path, open_video(path) as container:
        for packet in packets_of(container, video_stream(container)):
            tick()
            if packet.size:
                digest.update(bytes(packet))
    return digest.hexdigest()
