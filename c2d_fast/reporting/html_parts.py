"""Parts of a page that needs nothing but itself: texts, tables, pictures, all escaped. Text in, HTML out. No torch."""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any

from c2d_fast.reporting.curves import run_colour, run_stroke
from c2d_fast.tables import Table

_LONGEST = 400
"""Signs of a text from a file that are shown: of longer ones the middle is left out."""
_SIDEWAYS = 6
"""Rows of a table of many columns that still stand beside each other."""


def escape(value: Any, longest: int = _LONGEST) -> str:
    """Returns a value as text of a page, also of an attribute: nothing in it is markup, and no sign of it is invisible."""
    text = str(value)
    if len(text) > longest:
        text = f"{text[: longest // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - longest // 2 :]}"
    # Names of files may be any bytes, and may turn the direction of writing.
    return html.escape("".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text))


def heading(text: str) -> str:
    """Returns a heading within a section."""
    return f"<h3>{escape(text)}</h3>\n"


def paragraph(text: str, kind: str = "") -> str:
    """Returns a paragraph of plain text."""
    return f"<p{_class(kind)}>{escape(text, 4000)}</p>\n"


def table(content: Table, caption: str, *, sideways: bool = False) -> str:
    """Returns a table with a caption and headers; a figure has its whole value beside what is shown of it.

    Args:
        content: rows and columns.
        caption: what it shows.
        sideways: few rows become columns, so that many figures can be read on a narrow screen.
    """
    titles = [escape(title) for title, _ in content.columns]
    rows = [[_cell(value, form) for value, (_, form) in zip(row, content.columns, strict=True)] for row in content.rows]
    kind = ""
    if sideways and len(rows) <= _SIDEWAYS:
        kind = "sideways"
        rows = [list(column) for column in zip(*([titles, *rows]), strict=True)]
        titles, rows = rows[0], rows[1:]
        head = "".join(f'<th scope="col">{title}</th>' for title in titles)
        body = "".join(f'<tr><th scope="row">{row[0]}</th>{_cells(row[1:])}</tr>\n' for row in rows)
    else:
        head = "".join(f'<th scope="col">{title}</th>' for title in titles)
        body = "".join(f"<tr>{_cells(row)}</tr>\n" for row in rows)
    label = escape(caption)
    return (
        f'<div class="scroll" role="region" aria-label="{label}" tabindex="0"><table{_class(kind)}>\n'
        f"<caption>{label}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"
    )


def _cells(cells: Iterable[str]) -> str:
    return "".join(f'<td class="n">{cell}</td>' if cell.startswith("<data") else f"<td>{cell}</td>" for cell in cells)


def _cell(value: Any, form: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f'<data value="{escape(value)}">{escape(format(value, form))}</data>'
    return escape(value)


def facts(pairs: Iterable[tuple[str, Any]]) -> str:
    """Returns names and what they are; what is None or empty is left out."""
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value, 4000)}</dd></div>\n"
        for name, value in pairs
        if value is not None and value != ""
    )
    return f"<dl>\n{rows}</dl>\n" if rows else ""


def items(texts: Sequence[str]) -> str:
    """Returns a list of plain texts."""
    return "<ul>\n" + "".join(f"<li>{escape(text, 1000)}</li>\n" for text in texts) + "</ul>\n"


def folded(summary: str, content: str) -> str:
    """Returns content that is shown when it is asked for; it takes no script."""
    return f"<details>\n<summary>{escape(summary)}</summary>\n{content}</details>\n"


def figure(png: bytes, alt: str, size: tuple[int, int], *, large: bool = False) -> str:
    """Returns a chart.

    Args:
        png: the picture.
        alt: what it shows.
        size: that it has where there is room for it, in pixels.
        large: on a narrow screen it is moved about in place of being made smaller.
    """
    kind = f'class="chart large" role="region" aria-label="{escape(alt)}" tabindex="0"' if large else 'class="chart"'
    return f"<figure {kind}>{_image(png, 'png', alt, size)}</figure>\n"


def legend(names: Sequence[str]) -> str:
    """Returns the names of runs beside the lines that they have in charts (curves.py)."""
    keys = "".join(
        f'<li><span class="key chart-ink" style="border-top:3px {run_stroke(run)} {run_colour(run)}"></span>'
        f"{escape(name)}</li>\n"
        for run, name in enumerate(names)
    )
    return f'<ul class="legend">\n{keys}</ul>\n'


def card(lines: Sequence[tuple[str, str]], jpeg: bytes | None = None, alt: str = "", size: tuple[int, int] = (0, 0)) -> str:
    """Returns a picture with lines below it, each a kind (label, wrong, right, path) and its text.

    Args:
        lines: what stands below.
        jpeg: the picture; None where there is none.
        alt: what is to be seen on it.
        size: of the picture, in pixels.
    """
    words = "".join(f"<span{_class(kind)}>{escape(text)}</span>\n" for kind, text in lines)
    picture = "" if jpeg is None else _image(jpeg, "jpeg", alt, size) + "\n"
    return f'<figure class="card">{picture}<figcaption>{words}</figcaption></figure>\n'


def grid(parts: Iterable[str], kind: str) -> str:
    """Returns parts beside each other, as many as the screen is wide; of the kind charts or cards."""
    return f'<div class="{kind}">\n{"".join(parts)}</div>\n'


def _image(data: bytes, kind: str, alt: str, size: tuple[int, int]) -> str:
    source = base64.b64encode(data).decode()
    return f'<img alt="{escape(alt, 1000)}" width="{size[0]}" height="{size[1]}" src="data:image/{kind};base64,{source}">'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
