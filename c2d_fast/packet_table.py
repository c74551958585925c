"""Where every packet of every video of a manifest lies: a file beside the manifest, read through the memory map.

An uncompressed .npz archive: one file to copy, whose arrays `numpy.load` reads and this module maps, so that opening it costs
nothing and only the rows of the videos that are read come into memory. About 19 bytes a packet: 1.4 GB for Kinetics-400.
"""

import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from c2d_fast.archive_members import DAMAGED, TEXT, check_members, read_header, read_text
from c2d_fast.errors import UserError
from c2d_fast.examine import Examined
from c2d_fast.files import written_whole
from c2d_fast.packets import DTYPE

FORMAT = "c2d_fast.packets/2"
_MEMBERS = {
    "format": TEXT,
    "identity": TEXT,
    "packets": DTYPE,
    "starts": np.dtype(np.int64),
    "extradata_starts": np.dtype(np.int64),
    "extradata": np.dtype(np.uint8),
}


def rows_of(examined: Examined) -> NDArray[Any]:
    """Returns a video's packets: DTYPE [packets]."""
    packets = examined.packets
    rows = np.zeros(len(packets), DTYPE)
    rows["position"] = [packet.position for packet in packets]
    rows["size"] = [packet.size for packet in packets]
    rows["key"] = [packet.is_key for packet in packets]
    rows["reference"] = [packet.is_reference for packet in packets]
    rows["entry"][examined.entries()] = True
    rows["shown"] = examined.shown() if examined.facts.in_order else -1
    return rows


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
    extradata: list[bytes] = []
    with written_whole(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open("packets.npy", "w", force_zip64=True) as member:
            head = {"descr": npy.dtype_to_descr(DTYPE), "fortran_order": False, "shape": (int(starts[-1]),)}
            npy.write_array_header_2_0(member, head)  # type: ignore[no-untyped-call]
            for rows, configuration in videos:
                member.write(rows)
                extradata.append(configuration)
        ends = np.cumsum([0, *(len(item) for item in extradata)]).astype(np.int64)
        small = {
            "format": np.array(FORMAT),
            "identity": np.array(identity),
            "starts": starts,
            "extradata_starts": ends,
            "extradata": np.frombuffer(b"".join(extradata), np.uint8),
        }
        for name, array in small.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class PacketTable:
    """A table that has been opened; nothing of it is in memory until it is asked for."""

    _packets: NDArray[Any]
    _starts: NDArray[np.int64]
    _extradata: NDArray[np.uint8]
    _extradata_starts: NDArray[np.int64]

    def packets(self, video: int) -> NDArray[Any]:
        """Returns the packets of the manifest's video: DTYPE [packets], none of a broken one."""
        return self._packets[self._starts[video] : self._starts[video + 1]]

    def extradata(self, video: int) -> bytes:
        """Returns what a decoder has to be set up with."""
        return self._extradata[self._extradata_starts[video] : self._extradata_starts[video + 1]].tobytes()


def open_table(path: Path, identity: str) -> PacketTable:
    """Opens the table of a manifest.

    Raises:
        UserError: it cannot be read, or is of another manifest.
    """
    remedy = "make it again with python -m c2d_fast.prepare scan --packets"
    try:
        if read_text(path, "format") != FORMAT or read_text(path, "identity") != identity:
            raise UserError(f"{path}: belongs to another manifest, or another version of it; {remedy}")
        check_members(path, _MEMBERS)
        arrays = [_mapped(path, name) for name in ("packets", "starts", "extradata", "extradata_starts")]
    except UserError:
        raise
    except DAMAGED as error:
        raise UserError(f"{path}: is not a packet table that can be read ({error}); {remedy}") from error
    if not (_parts(arrays[1], len(arrays[0])) and _parts(arrays[3], len(arrays[2])) and len(arrays[1]) == len(arrays[3])):
        raise UserError(f"{path}: is a packet table whose arrays do not fit each other; {remedy}")
    return PacketTable(*arrays)


def _parts(starts: NDArray[np.int64], total: int) -> bool:
    """Says whether some places part an array of so many elements."""
    return bool(len(starts) and starts[0] == 0 and starts[-1] == total and (np.diff(starts) >= 0).all())


def _mapped(path: Path, name: str) -> NDArray[Any]:
    """Maps an array of an uncompressed archive, which lies in it as it would in a file of its own."""
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(f"{name}.npy").header_offset
    with path.open("rb") as file:
        file.seek(start)
        header = file.read(30)
        name_length, extra_length = struct.unpack("<HH", header[26:30])  # of the local header, APPNOTE 4.3.7
        file.seek(start + 30 + name_length + extra_length)
        shape, dtype = read_header(file)
        if not shape[0]:  # nothing can be mapped of an empty array
            return np.zeros(shape, dtype)
        return np.memmap(path, dtype, "r", file.tell(), shape)
