"""The packets of videos while a packet table is being made: in a file beside the journal, or in an earlier table."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from c2d_fast.errors import UserError
from c2d_fast.formats.manifest_file import ManifestFile, table_path
from c2d_fast.formats.packet_table import PacketTable, TableError, checksum, open_table, write_table
from c2d_fast.video.packets import DTYPE

_TOKEN = 32
_DAMAGED = "has changed since it was read; the same command again looks for what is lost"


class PacketLocation(NamedTuple):
    """Where a video's packets lie: in the store's file, or as a video of the earlier table."""

    file: str
    """Which file: each is begun with a token of its own. Empty for the earlier table."""
    position: int
    """In the file; or the number of the video."""
    rows: int = 0
    """Bytes of the rows."""
    extradata: int = 0
    """Bytes of the decoder's configuration, behind them."""
    checksum: int = 0
    """Of both, as the table will have it."""


class PacketStore:
    """Keeps what is added, over interruptions, until a table has been written of it."""

    def __init__(self, manifest: Path, before: ManifestFile | None, earlier: Path | None = None):
        """Opens or begins the store.

        Args:
            manifest: the file that is being made.
            before: what is known from an earlier time.
            earlier: the file that before stands in, if it is another.

        Raises:
            UserError: it cannot be written.
        """
        self._manifest, self._before, self._earlier_manifest = manifest, before, earlier or manifest
        self._path = store_path(manifest)
        try:
            self._file = self._path.open("a+b")
            if not self._file.seek(0, 2):
                self._file.write(secrets.token_hex(_TOKEN // 2).encode())
                self._file.flush()
            self._file.seek(0)
            self._token = self._file.read(_TOKEN).decode(errors="replace")
        except OSError as error:
            raise self._unwritable(error) from error
        self._table, self._is_damaged = _earlier_table(self._earlier_manifest, before), False
        self._earlier = {video: number for number, video in enumerate(before.videos)} if before and self._table else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):  # a disk that is full: what could not be written has been said
            self._file.close()

    def add(self, rows: bytes, extradata: bytes) -> PacketLocation:
        """Adds a video's packets; they are the file's when this returns.

        Raises:
            UserError: they cannot be written.
        """
        try:
            position = self._file.seek(0, 2)
            self._file.write(rows + extradata)
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error
        return PacketLocation(self._token, position, len(rows), len(extradata), checksum(rows, extradata))

    def restore(self, location: Any) -> PacketLocation | None:
        """Returns a location that a journal has kept, if it is of this file and what was written is there."""
        if not location or len(location) != len(PacketLocation._fields) or location[0] != self._token:
            return None
        found = PacketLocation(*location)
        self._file.seek(0, 2)
        if found.position + found.rows + found.extradata > self._file.tell() or found.rows % DTYPE.itemsize:
            return None
        return found if checksum(*self._read(found)) == found.checksum else None

    def from_earlier_table(self, video: str, state: tuple[int, int]) -> PacketLocation | None:
        """Returns the location of a video of the earlier table, if sound and of the file in this state (size, mtime_ns)."""
        number = self._earlier.get(video)
        if number is None or self._before is None or self._table is None or self._before.reasons[number]:
            return None
        if state != (self._before.size[number], self._before.mtime_ns[number]):
            return None
        try:
            rows, _ = self._table.read(number, state[0])
        except TableError as error:
            if not self._is_damaged:
                path = table_path(self._earlier_manifest)
                print(f"note: {path}: is damaged: what it says of {video} {error}; such videos are read again")
            self._is_damaged = True
            return None
        return PacketLocation("", number, rows.nbytes)

    def write(self, manifest: ManifestFile, locations: Sequence[PacketLocation | None]) -> Path:
        """Writes the table of a manifest, whole or not at all; a video without a location has no packets in it.

        Raises:
            OSError: it cannot be written.
            UserError: what was added is no longer what it was.
        """
        path = table_path(self._manifest)
        rows = [location.rows // DTYPE.itemsize if location else 0 for location in locations]
        write_table(path, manifest.identity(), self._videos(locations), np.array(rows, np.int64))
        return path

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self._path}: cannot be written ({error.strerror}); make room or mend that, and run it again")

    def _videos(self, locations: Sequence[PacketLocation | None]) -> Iterator[tuple[bytes, bytes]]:
        for location in locations:
            if location is None:
                yield b"", b""
            elif location.file:
                parts = self._read(location)
                if checksum(*parts) != location.checksum:
                    raise UserError(f"{self._path}: {_DAMAGED}")
                yield parts
            else:
                assert self._table is not None
                try:
                    rows, extradata = self._table.read(location.position)
                except TableError as error:
                    raise UserError(f"{table_path(self._earlier_manifest)}: {_DAMAGED}") from error
                yield rows.tobytes(), extradata

    def _read(self, location: PacketLocation) -> tuple[bytes, bytes]:
        self._file.seek(location.position)
        return self._file.read(location.rows), self._file.read(location.extradata)


def store_path(manifest: Path) -> Path:
    """Returns where a manifest's packets are kept while it is being made; no longer needed once its table is written."""
    return manifest.with_name(f"{manifest.name}.journal-packets")


def _earlier_table(manifest: Path, before: ManifestFile | None) -> PacketTable | None:
    if before is None or not table_path(manifest).exists():
        return None
    try:
        return open_table(table_path(manifest), before.identity(), before.facts["packets"])
    except UserError as error:
        print(f"note: {error}")
        return None
