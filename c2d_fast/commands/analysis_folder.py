"""Where `analyze` writes, and what its files are called."""

import os
from collections.abc import Sequence
from pathlib import Path

from c2d_fast.errors import UserError
from c2d_fast.files import atomic_write
from c2d_fast.tables import Table

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
    """Where the files go."""

    def __init__(self, path: Path):
        """Makes the folder if it is missing.

        Raises:
            UserError: it cannot be made.
        """
        self.written: list[Path] = []
        """The files, in their order."""
        self._path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {path}: cannot be made ({error.strerror}); give another folder") from error

    def write(self, name: str, data: bytes) -> None:
        """Writes a file.

        Raises:
            UserError: it cannot be written.
        """
        path = self._path / name
        try:
            with atomic_write(path) as partial:
                partial.write_bytes(data)
        except OSError as error:
            raise UserError(f"--out: {path} cannot be written ({error.strerror}); free the disk or give another") from error
        self.written.append(path)

    def table(self, name: str, table: Table) -> None:
        """Writes a table as Markdown and as CSV."""
        for suffix, text in ((".md", table.markdown()), (".csv", table.csv())):
            self.write(name + suffix, text.encode(errors="backslashreplace"))  # names of files may be any bytes
