"""What a long command has done so far, one JSON line for each item: nothing is lost, however it ends.

Each line ends with its CRC-32: what a disk has changed since is done again, and not believed.
"""

import fcntl
import json
import os
import zlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from c2d_fast.errors import UserError


class Journal:
    """An append-only file beside a result that is being made; locked, so that two commands do not make it at once."""

    def __init__(self, path: Path, header: dict[str, Any], what: str, *, must_match: bool = False):
        """Opens or begins a journal; one with another header is begun anew.

        Args:
            path: the journal's file.
            header: what the entries hold for: plain values.
            what: the flag and value that led here, for messages.

            must_match: refuse one with another header instead.

        Raises:
            UserError: it cannot be written, or another process is writing it, or its header is another.
        """
        self.path = path
        self._what = what
        try:
            self._file = path.open("a+b")
        except OSError as error:
            raise UserError(f"{what}: {path} cannot be written ({error.strerror}); give another place") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise UserError(f"{what}: another process is making it now; wait for it, or give another place") from error
        except OSError:  # a file system without locks
            pass
        self.entries = self._read(header, must_match)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):  # a disk that is full: what could not be written has been said
            self._file.close()

    def add(self, entry: Any) -> None:
        """Appends an entry of plain values; it is the file's when this returns.

        Raises:
            UserError: it cannot be written.
        """
        try:
            line = json.dumps(entry).encode()
            self._file.write(line + b" %08x\n" % zlib.crc32(line))
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"{self._what}: {self.path} cannot be written ({error.strerror}); make room and run it again"
            ) from error

    def remove(self) -> None:
        """Removes the file: the result has been made."""
        self.path.unlink(missing_ok=True)

    def _read(self, header: dict[str, Any], must_match: bool) -> list[Any]:
        self._file.seek(0)
        lines = self._file.read().split(b"\n")
        values, whole = [], 0
        for line in lines[:-1]:  # the last is empty, or was cut short
            whole += len(line) + 1
            try:
                values.append(_entry(line))
            except ValueError:
                if not values:  # what the others hold for is not known
                    break
        if values and values[0] != header and must_match:
            others = ", ".join(f"{name} {value}" for name, value in values[0].items() if header.get(name) != value)
            raise UserError(f"{self._what}: was begun with other options ({others}); give the same, or another place")
        if not values or values[0] != header:
            values, whole = [header], 0
        self._file.truncate(whole)
        if not whole:
            self.add(header)
            os.fsync(self._file.fileno())
        return values[1:]


def _entry(line: bytes) -> Any:
    if not line.endswith((b"]", b"}")):  # those of earlier versions have no checksum
        line, _, checksum = line.rpartition(b" ")
        if checksum != b"%08x" % zlib.crc32(line):
            raise ValueError("it has changed since it was written")
    return json.loads(line)
