"""What a long command has done so far, one JSON line for each item: nothing is lost, however it ends."""

import fcntl
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from c2d_fast.errors import UserError
from c2d_fast.formats.checksums import add_checksum, strip_checksum
from c2d_fast.formats.schemas import ShapeError, check_plain, parse

_LONGEST_LINE = 2**20


class Journal:
    """An append-only file beside a result that is being made; locked, so that two commands do not make it at once."""

    def __init__(
        self,
        path: Path,
        header: dict[str, Any],
        what: str,
        *,
        entry: Callable[[Any], Any] = lambda value: value,
        must_match: bool = False,
        must_be_whole: bool = False,
    ):
        """Opens or begins a journal; one with another header is begun anew.

        Args:
            path: the journal's file.
            header: what the entries hold for: plain values.
            what: the flag and value that led here, for messages.
            entry: returns a value as an entry of the shape that is wanted, or raises a schemas.ShapeError.
            must_match: refuse one with another header instead.
            must_be_whole: refuse one with a damaged line, too; otherwise such lines are named and left aside.

        Raises:
            UserError: it cannot be written, or another process is writing it, or it is refused.
        """
        self.path = path
        self._what, self._entry = what, entry
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
        self.entries: list[Any] = []
        try:
            self._read(header, must_match, must_be_whole)
        except UserError:
            self._file.close()
            raise

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
            self._file.write(add_checksum(json.dumps(entry)) + b"\n")
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"{self._what}: {self.path} cannot be written ({error.strerror}); make room and run it again"
            ) from error

    def remove(self) -> None:
        """Removes the file: the result has been made."""
        self.path.unlink(missing_ok=True)

    def _read(self, header: dict[str, Any], must_match: bool, must_be_whole: bool) -> None:
        self._file.seek(0)
        first, *lines = self._file.read().split(b"\n")
        if not lines:  # empty, or cut short: as is what follows the last line's end
            self._begin(header)
            return
        begun, is_summed = None, False
        try:
            text, is_summed = strip_checksum(first)
            begun = parse(text, _LONGEST_LINE)
            check_plain(begun)
        except ShapeError as error:
            if must_match:
                raise UserError(
                    f"{self._what}: {self.path}:1: is damaged ({error}); mend that line, or give another place"
                ) from error
        if begun != header:
            if must_match:
                options = begun.items() if isinstance(begun, dict) else ()
                others = ", ".join(f"{name} {value}" for name, value in options if header.get(name) != value)
                raise UserError(f"{self._what}: was begun with other options ({others:.200}); give the same, or another place")
            self._begin(header)
            return
        self._file.truncate(len(first) + 1 + sum(len(line) + 1 for line in lines[:-1]))
        self._take(lines[:-1], is_summed, must_be_whole)

    def _begin(self, header: dict[str, Any]) -> None:
        self._file.truncate(0)
        self.add(header)
        os.fsync(self._file.fileno())

    def _take(self, lines: list[bytes], is_summed: bool, must_be_whole: bool) -> None:
        """Reads the entries; in a journal that began with a checksum each must have one."""
        damaged = []
        for number, line in enumerate(lines, start=2):
            try:
                text, has_sum = strip_checksum(line)
                if is_summed and not has_sum:
                    raise ShapeError("it has no checksum")
                self.entries.append(self._entry(parse(text, _LONGEST_LINE)))
            except ShapeError as error:
                damaged.append(f"{self.path}:{number}: is damaged ({error})")
        if damaged and must_be_whole:
            raise UserError(f"{damaged[0]}; mend or remove that line")
        if damaged:
            more = f", and so are {len(damaged) - 1} more of its lines" if len(damaged) > 1 else ""
            print(f"note: {damaged[0]}{more}: what they tell of is done again")
