"""Where every packet of every video of a manifest lies: a file beside the manifest, of which a video's rows are read alone.

An uncompressed .npz archive: one file to copy, whose arrays `numpy.load` reads and this module reads at their places, so that
opening it costs next to nothing. About 19 bytes a packet: 1.4 GB for Kinetics-400. The archive's checksums are of whole arrays,
so each video has one of its own, which is compared whenever it is read: a bit that flips on a disk moves no frame.
"""

import os
import struct
import weakref
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.formats.archive_members import DAMAGED, TEXT, Member, check_members, describe_error, read_text
from c2d_fast.formats.array_blocks import read_blocks
from c2d_fast.video.examine import Examined
from c2d_fast.video.packets import DTYPE

FORMAT = "c2d_fast.packets/3"
REMEDY = "make it again with python -m c2d_fast.prepare scan --packets"
_MEMBERS = {
    "format": TEXT,
    "identity": TEXT,
    "packets": DTYPE,
    "starts": np.dtype(np.int64),
    "extradata_starts": np.dtype(np.int64),
    "extradata": np.dtype(np.uint8),
    "checksums": np.dtype(np.uint32),
}
_UNFIT = f"is a packet table whose arrays do not fit each other, or its manifest; {REMEDY}"
_MOST_EXTRADATA = 2**28  # FFmpeg's own limit
_VIDEOS_AT_ONCE, _PACKETS_AT_ONCE = 2**14, 2**20


class TableError(Exception):
    """What a table says of a video is not what was written, or cannot be. The message is the end of a sentence."""


def rows_of(examined: Examined) -> NDArray[Any]:
    """Returns a video's packets: DTYPE [packets]. Positions are given where a group's packets follow each other in the file."""
    packets = examined.packets
    rows = np.zeros(len(packets), DTYPE)
    rows["position"] = [packet.position for packet in packets]
    rows["size"] = [packet.size for packet in packets]
    rows["key"] = [packet.is_key for packet in packets]
    rows["reference"] = [packet.is_reference for packet in packets]
    rows["entry"][examined.entries()] = True
    rows["shown"] = examined.shown() if examined.facts.in_order else -1
    groups = np.cumsum(rows["entry"])
    rows["position"][np.isin(groups, groups[1:][_goes_back(rows)])] = -1
    return rows


def checksum(rows: bytes, extradata: bytes) -> int:
    """Returns the CRC-32 of what a table says of a video, lengths included.

    It finds every flip of one bit or two, and every damage within 32 bits; of other damage one in four billion passes. A hash
    that cannot be forged takes four times as long, and does not help: who can write the table can write its hashes.
    """
    return zlib.crc32(extradata, zlib.crc32(rows, zlib.crc32(struct.pack("<QQ", len(rows), len(extradata)))))


def write_table(path: Path, identity: str, videos: Iterable[tuple[bytes, bytes]], counts: NDArray[np.int64]) -> None:
    """Writes a table whole or not at all.

    Args:
        path: the file.
        identity: of the manifest, manifest_file.ManifestFile.identity.
        videos: for each video the bytes of its rows and the decoder's configuration; gone through once.
        counts: packets of each video, int64 [videos]; 0 of a broken one.

    Raises:
        OSError: it cannot be written.
    """
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    extradata, checksums = [], []
    with atomic_write(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open("packets.npy", "w", force_zip64=True) as member:
            head = {"descr": npy.dtype_to_descr(DTYPE), "fortran_order": False, "shape": (int(starts[-1]),)}
            npy.write_array_header_2_0(member, head)  # type: ignore[no-untyped-call]
            for rows, configuration in videos:
                member.write(rows)
                extradata.append(configuration)
                checksums.append(checksum(rows, configuration))
        ends = np.cumsum([0, *(len(item) for item in extradata)]).astype(np.int64)
        small = {
            "format": np.array(FORMAT),
            "identity": np.array(identity),
            "starts": starts,
            "extradata_starts": ends,
            "extradata": np.frombuffer(b"".join(extradata), np.uint8),
            "checksums": np.array(checksums, np.uint32),
        }
        for name, array in small.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)  # type: ignore[no-untyped-call]


class PacketTable:
    """A table that has been opened; nothing of it is in memory until it is asked for."""

    def __init__(self, path: Path, members: dict[str, Member]):
        """Takes a table that has been looked into; open_table does that."""
        self._members = members
        self._is_checked = bytearray(len(self))  # of what has the same checksum once is enough
        # Not mapped: a page that cannot be read would end the process, and the video be blamed for it.
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._fd)

    def packets(self, video: int) -> NDArray[Any]:
        """Returns the packets of the manifest's video: DTYPE [packets], none of a broken one; raises as read does."""
        return self.read(video)[0]

    def extradata(self, video: int) -> bytes:
        """Returns what a decoder has to be set up with; raises as read does."""
        return self.read(video)[1]

    def read(self, video: int, file_size: int | None = None) -> tuple[NDArray[Any], bytes]:
        """Returns what the table says of a video of the manifest: packets and extradata.

        Args:
            video: its index in the manifest.
            file_size: bytes of the video file, where its packets must lie.

        Raises:
            TableError: it does not match its checksum, cannot be read, or leads to packets that cannot be.
        """
        try:
            first, end = self._part("starts", video, 2).tolist()
            first_extra, end_extra = self._part("extradata_starts", video, 2).tolist()
            (expected,) = self._part("checksums", video, 1).tolist()
            rows = self._part("packets", first, end - first)
            extradata = self._part("extradata", first_extra, end_extra - first_extra).tobytes()
        except OSError as error:
            raise TableError(f"cannot be read ({error.strerror})") from error
        if checksum(rows.tobytes(), extradata) != expected:
            raise TableError("does not match its checksum")
        if not self._is_checked[video]:
            if problem := _why_wrong(rows, file_size):
                raise TableError(f"cannot be: {problem}")
            self._is_checked[video] = file_size is not None
        return rows, extradata

    def counts(self) -> NDArray[np.int64]:
        """Returns how many packets each video has: int64 [videos]."""
        counts: NDArray[np.int64] = np.diff(self._part("starts", 0, len(self) + 1))
        return counts

    def each(self) -> Iterator[tuple[NDArray[Any], bytes] | None]:
        """Yields packets and extradata of each video in turn, much quicker than one by one; None of a damaged one.

        They are compared with their checksums, and not looked into further.

        Raises:
            TableError: the table cannot be read.
        """
        for first in range(0, len(self), _VIDEOS_AT_ONCE):
            count = min(_VIDEOS_AT_ONCE, len(self) - first)
            starts, extra_starts = (self._part(name, first, count + 1) for name in ("starts", "extradata_starts"))
            expected = self._part("checksums", first, count).tolist()
            at = 0
            while at < count:  # a part of so many packets, or of one video that has more
                to = max(int(np.searchsorted(starts, starts[at] + _PACKETS_AT_ONCE, "right")) - 1, at + 1)
                rows = self._part("packets", int(starts[at]), int(starts[to] - starts[at]))
                extradata = self._part("extradata", int(extra_starts[at]), int(extra_starts[to] - extra_starts[at])).tobytes()
                ends, extra_ends = (part[at : to + 1] - part[at] for part in (starts, extra_starts))
                for i, (start, end) in enumerate(pairwise(ends.tolist())):
                    found = rows[start:end]
                    extra = extradata[extra_ends[i] : extra_ends[i + 1]]
                    yield (found, extra) if checksum(found.tobytes(), extra) == expected[at + i] else None
                at = to

    def __len__(self) -> int:
        return self._members["checksums"].shape[0]

    def _part(self, name: str, first: int, count: int) -> NDArray[Any]:
        member = self._members[name]
        size = member.dtype.itemsize
        if not 0 <= first <= first + count <= member.shape[0]:
            raise TableError("leads out of the table")
        data = os.pread(self._fd, count * size, member.first_byte + first * size)
        if len(data) < count * size:
            raise TableError("is cut short")
        return np.frombuffer(data, member.dtype)


def open_table(path: Path, identity: str, packets: NDArray[Any] | None = None) -> PacketTable:
    """Opens the table of a manifest. Its index is compared with the archive's checksums; of each video, what is read of it.

    Args:
        path: the table.
        identity: of the manifest.
        packets: how many each of its videos has, [videos]; where they are not given, they are not compared.

    Raises:
        UserError: it cannot be read, or is of another manifest.
    """
    try:
        if read_text(path, "format") != FORMAT or read_text(path, "identity") != identity:
            raise UserError(f"{path}: belongs to another manifest, or another version of it; {REMEDY}")
        members = check_members(path, _MEMBERS, stored=True)
        count = members["checksums"].shape[0]
        if packets is not None and len(packets) != count:
            raise UserError(f"{path}: {_UNFIT}")
        fits = _fits(path, "starts", count, members["packets"].shape[0], packets)
        fits &= _fits(path, "extradata_starts", count, members["extradata"].shape[0])
        for _ in read_blocks(path, "checksums"):  # for the archive's checksum of them
            pass
        table = PacketTable(path, members)
    except UserError:
        raise
    except DAMAGED as error:
        raise UserError(f"{path}: is not a packet table that can be read ({describe_error(error)}); {REMEDY}") from error
    if not fits:
        raise UserError(f"{path}: {_UNFIT}")
    return table


def _fits(path: Path, name: str, count: int, total: int, packets: NDArray[Any] | None = None) -> bool:
    """Says whether some offsets part an array of so many elements among so many videos, each part as large as it may be."""
    before, last, place = np.zeros(0, np.int64), -1, 0
    fits = True
    for block in read_blocks(path, name):
        fits &= place > 0 or block[0] == 0
        lengths = np.diff(np.concatenate([before, block]))
        fits &= bool((lengths >= 0).all()) and (name == "starts" or bool((lengths <= _MOST_EXTRADATA).all()))
        if packets is not None:  # a video whose packets a scan could not find has none
            wanted = packets[place : place + len(lengths)]
            fits &= len(wanted) == len(lengths) and bool(((lengths == 0) | (lengths == wanted)).all())
        before, last, place = block[-1:], int(block[-1]), place + len(lengths)
    return fits and place == count and last == total


def _why_wrong(rows: NDArray[Any], file_size: int | None) -> str:
    """Says what no scan writes of a video, "" if there is nothing: in reading a clip it would give other frames, or none."""
    if not len(rows):
        return ""
    size, shown, is_entry = rows["size"].copy(), rows["shown"].copy(), rows["entry"]
    if (size <= 0).any() or (file_size is not None and (rows["position"] > file_size - size).any()):
        return "packets that are empty or lie outside the file"
    if _goes_back(rows).any():
        return "packets of a group that lie before the last"
    if not is_entry[0] and is_entry.any():
        return "no beginning"
    is_numbered = np.array_equal(np.sort(shown), np.arange(len(rows))) or (shown == -1).all()
    return "" if is_numbered else "packets that are not one frame each"


def _goes_back(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Says of each packet but the first whether it lies in the file before the end of that before it in its group."""
    position = rows["position"].copy()
    ends = np.where(position < 0, -1, position + rows["size"])[:-1]  # of a packet that is in pieces nothing is known
    goes_back: NDArray[np.bool_] = (position[1:] < ends) & (position[1:] >= 0) & ~rows["entry"][1:]
    return goes_back
