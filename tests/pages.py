"""Reads a page of `analyze --html`: what stands in it, and that it is well-formed. Python's own parser, none of ours."""

import base64
import io
from html.parser import HTMLParser

from PIL import Image

VOID = {"meta", "link", "img"}
ALLOWED = {
    "html", "head", "meta", "title", "link", "style", "body", "main", "section", "nav", "h1", "h2", "h3", "p", "ul", "li", "a",
    "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "data", "figure", "figcaption", "img", "span",
    "dl", "dt", "dd", "details", "summary",
}  # fmt: skip


class Page(HTMLParser):
    """Tables by their captions, pictures, texts; anything that does not belong to a page is an AssertionError."""

    def __init__(self, path):
        super().__init__()
        self.open, self.tables, self.pictures, self.ids, self.links, self.texts = [], {}, [], [], [], []
        self.text = path.read_bytes().decode()  # strict
        self._row = self._cell = None
        self.feed(self.text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names, given = [name for name, _ in attrs], dict(attrs)
        assert tag in ALLOWED, tag
        assert len(names) == len(set(names))
        assert not [name for name in names if name.startswith("on")]
        for name in ("src", "href"):
            assert given.get(name, "data:").startswith(("data:", "#")), given[name]
        if "id" in given:
            self.ids.append(given["id"])
        if given.get("href", "").startswith("#"):
            self.links.append(given["href"][1:])
        if tag == "img":
            assert given["alt"]
            kind, data = given["src"].removeprefix("data:image/").split(";base64,")
            picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            assert picture.format.lower() == kind
            picture.load()
            self.pictures.append((given["alt"], picture))
        elif tag == "table":
            self._table = {"caption": "", "rows": []}
        elif tag == "tr":
            self._row = []
        elif tag in ("th", "td"):
            assert tag == "td" or given["scope"] in ("col", "row")
            self._cell = ["", None]
        elif tag == "data":
            self._cell[1] = float(given["value"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("th", "td"):
            self._row.append(self._cell[0] if self._cell[1] is None else self._cell[1])
        elif tag == "tr":
            self._table["rows"].append(self._row)
        elif tag == "table":
            assert self._table["caption"]
            assert len({len(row) for row in self._table["rows"]}) == 1
            assert self._table["caption"] not in self.tables
            self.tables[self._table["caption"]] = self._table["rows"]

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style",):
            self.texts.append(data)
        if self.open and self.open[-1] == "caption":
            self._table["caption"] += data
        elif "table" in self.open and self.open[-1] in ("th", "td", "data"):
            self._cell[0] += data

    def handle_comment(self, data):
        raise AssertionError(data)

    def all_text(self):
        return "\n".join(self.texts)

    def sideways(self, caption):
        """A table whose columns are runs or results: figure's name -> its values."""
        return {row[0]: row[1:] for row in self.tables[caption]}

    def rows(self, caption):
        head, *rows = self.tables[caption]
        return [dict(zip(head, row, strict=True)) for row in rows]
