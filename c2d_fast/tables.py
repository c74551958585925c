"""Tables of results: as text for a console, as Markdown and as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from c2d_fast.console import escape_control

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with, also in full width."""
_MARKDOWN = str.maketrans({sign: rf"\{sign}" for sign in r"\|[]`"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})
_CONSOLE = 120
"""Characters that most consoles have in a line."""


@dataclass(frozen=True)
class Table:
    """Rows of values: numbers, texts, or None for what is not known."""

    columns: Sequence[tuple[str, str]]
    """(title, format of the values, such as ".1f"): CSV has the values as they are."""
    rows: Sequence[Sequence[Any]]

    def text(self) -> str:
        """Returns lines with aligned columns; few rows of many columns lie on their side."""
        cells = self._cells()
        lines = _aligned(cells, [self._is_number(index) for index in range(len(self.columns))])
        if len(self.rows) < len(self.columns) and max(map(len, lines)) > _CONSOLE:
            lines = _aligned(list(map(list, zip(*cells, strict=True))), [False] * (len(self.rows) + 1))
        return "\n".join(lines)

    def markdown(self) -> str:
        """Returns a Markdown table."""
        titles, *rows = [[cell.translate(_MARKDOWN) for cell in row] for row in self._cells()]
        right = ["---:" if self._is_number(index) else "---" for index in range(len(titles))]
        return "".join(f"| {' | '.join(row)} |\n" for row in (titles, right, *rows))

    def csv(self) -> str:
        """Returns lines of CSV, numbers in full."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([title for title, _ in self.columns])
        writer.writerows([[csv_cell(value) for value in row] for row in self.rows])
        return file.getvalue()

    def _cells(self) -> list[list[str]]:
        return [[title for title, _ in self.columns], *([self._cell(*pair) for pair in enumerate(row)] for row in self.rows)]

    def _cell(self, column: int, value: Any) -> str:
        # Names come from files: what would move a terminal's cursor is shown, not sent.
        text = "-" if value is None else format(value, self.columns[column][1])
        return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)

    def _is_number(self, column: int) -> bool:
        return all(isinstance(row[column], (int, float, type(None))) for row in self.rows)


def csv_cell(value: Any) -> Any:
    """Returns a cell for CSV: of names that come from files spreadsheets compute nothing, and terminals obey nothing."""
    if not isinstance(value, str):
        return value
    text = escape_control(value).replace("\n", "\\n").replace("\t", "\\t")
    return f"'{text}" if value.lstrip().startswith(_FORMULA) or value.startswith(("\t", "\r", "\n")) else text


def _aligned(cells: list[list[str]], right: Sequence[bool]) -> list[str]:
    columns = []
    for column, is_right in zip(zip(*cells, strict=True), right, strict=True):
        width = max(map(len, column))
        columns.append([cell.rjust(width) if is_right else cell.ljust(width) for cell in column])
    return ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]
