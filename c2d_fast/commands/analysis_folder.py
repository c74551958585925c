"""Where `analyze` writes, what it has written, and what its files are called."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.reporting.charts import encode_png
from c2d_fast.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DUMPS = (".pkl", ".json")
"""What the names of files end in that test --dump writes."""


def short_names(paths: Sequence[Path]) -> list[str]:
    """Returns the ends of paths that tell them apart, as one word each that may be part of a file's name."""
    paths = [path.resolve() for path in paths]
    words = [[*path.parts[1:-1], path.stem if path.suffix in DUMPS else path.name] for path in paths]
    for length in (1, 2, 3):
        names = [_word("-".join(of_path[-length:])) for of_path in words]
        if len({name.lower() for name in names}) == len(names):  # some file systems know no case
            return names
    return [f"{name}-{number}" for number, name in enumerate(map(_word, (path.name for path in paths)), 1)]


def _word(name: str) -> str:
    return "".join(sign if sign.isprintable() and sign != os.sep else "_" for sign in name)[-50:]


class AnalysisFolder:
    """Where the files go, and what is in them."""

    def __init__(self, path: Path | None):
        """Makes the folder if it is missing.

        Args:
            path: None: nothing is written.

        Raises:
            UserError: it cannot be made.
        """
        self.written: list[Path] = []
        """The files, in their order."""
        self.tables: dict[str, Table] = {}
        """By their names, without an ending."""
        self.figures: dict[str, Callable[[], Figure]] = {}
        """What draws each chart, by its file's name."""
        self._path = path
        if path is None:
            return
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {path}: cannot be made ({error.strerror}); give another folder") from error

    def figure(self, name: str, draw: "Callable[[], Figure]") -> None:
        """Draws and writes a chart as PNG.

        Raises:
            UserError: it cannot be written.
        """
        self.figures[name] = draw
        if self._path is not None:
            self._write(self._path / name, encode_png(draw()))

    def table(self, name: str, table: Table) -> None:
        """Writes a table as Markdown and as CSV.

        Raises:
            UserError: it cannot be written.
        """
        self.tables[name] = table
        if self._path is not None:
            for suffix, text in ((".md", table.markdown()), (".csv", table.csv())):
                # Names of files may be any bytes.
                self._write(self._path / (name + suffix), text.encode(errors="backslashreplace"))

    def _write(self, path: Path, data: bytes) -> None:
        try:
            with atomic_write(path) as partial:
                partial.write_bytes(data)
        except OSError as error:
            raise UserError(f"--out: {path} cannot be written ({error.strerror}); free the disk or give another") from error
        self.written.append(path)
