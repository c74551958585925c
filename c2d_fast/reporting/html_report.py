"""A page in one file: no script, nothing from elsewhere, and no more bytes than were granted. No torch."""

from c2d_fast.reporting.html_parts import escape, items, paragraph

MOST_BYTES = 10_000_000
_TAIL = 20_000  # for what was left out, and the page's end
_NAMED = 20

_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2328;--faint:#59636e;--line:#d1d9e0;--shade:#f6f8fa;--link:#0a5dc2;
--wrong:#b3261e;--right:#1a6b34}
@media (prefers-color-scheme:dark){:root{--paper:#141414;--ink:#e6e6e6;--faint:#a3a3a3;--line:#3a3a3a;--shade:#202020;
--link:#7ab7ff;--wrong:#ff8a80;--right:#7bd88f}
.chart img,.chart-ink{filter:invert(.92) hue-rotate(180deg)}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:1240px;padding:24px 20px 48px;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px}
h2{font-size:1.25rem;margin:40px 0 10px;padding-top:10px;border-top:1px solid var(--line)}
h3{font-size:1.02rem;margin:24px 0 8px}
p{margin:8px 0}
.faint,.path{color:var(--faint)}
.path{font-size:.87em}
.wrong{color:var(--wrong)}
.right{color:var(--right)}
a{color:var(--link)}
nav ul{list-style:none;margin:14px 0 0;padding:0;display:flex;flex-wrap:wrap;gap:4px 18px}
ul{padding-left:22px}
.scroll{overflow-x:auto;margin:12px 0}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:0 0 6px;position:sticky;left:0}
th,td{padding:5px 12px 5px 8px;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;min-width:4.2em;
overflow-wrap:break-word;max-width:32em}
thead th{background:var(--shade);vertical-align:bottom}
tbody th{font-weight:500;color:var(--faint)}
td.n{text-align:right;white-space:nowrap}
.sideways td{min-width:6.5em}
.sideways td.n{text-align:left}
.sideways thead th:first-child,.sideways tbody th{min-width:8em}
img{max-width:100%;height:auto;display:block}
figure{margin:0}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));gap:14px;align-items:start}
.charts img{width:100%}
.pair{display:flex;flex-wrap:wrap;gap:14px 24px;align-items:flex-start;margin:14px 0}
.large{overflow-x:auto;max-width:100%}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,380px),1fr));gap:18px 14px;align-items:start}
.card img{width:100%;border-radius:4px}
.card figcaption span{display:block;font-size:.9rem}
.legend{list-style:none;margin:10px 0;padding:0;display:flex;flex-wrap:wrap;gap:2px 20px}
.key{display:inline-block;width:30px;margin-right:8px;vertical-align:middle}
dl{margin:8px 0;display:grid;gap:3px}
dl div{display:grid;grid-template-columns:minmax(7em,11em) 1fr;gap:4px 14px}
dt{color:var(--faint)}
dd{margin:0}
details{margin:10px 0}
summary{cursor:pointer;color:var(--link);padding:4px 0}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
@media (max-width:600px){.large img{max-width:none}body{padding:16px 12px 32px;font-size:14.5px}
dl div{grid-template-columns:1fr;gap:0}
dl{gap:8px}th,td{padding:5px 8px 5px 6px}}
@media print{:root{--paper:#fff;--ink:#000;--faint:#444;--line:#bbb;--shade:#f2f2f2;--link:#000;--wrong:#900;--right:#060}
.chart img,.chart-ink{filter:none}
body{max-width:none;padding:0;font-size:10pt}nav{display:none}.scroll{overflow:visible}figure,tr,h2,h3{break-inside:avoid}
h2,h3{break-after:avoid}}
"""
# Should anything have come through as markup after all, it would get nothing from anywhere.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class HtmlReport:
    """A page that grows section by section; what no longer fits is left out, and the page says so."""

    def __init__(self, title: str, most_bytes: int = MOST_BYTES):
        """Begins a page.

        Args:
            title: plain text.
            most_bytes: that it may have.
        """
        self._title, self._room = title, most_bytes - _TAIL - len(_STYLE)
        self._sections: list[tuple[str, list[str]]] = []
        self._left_out: list[str] = []

    def section(self, title: str) -> None:
        """Begins a section; one in which nothing stands is not shown."""
        self._sections.append((title, []))

    def add(self, part: str, what: str) -> bool:
        """Puts HTML into the section, if there is room for it; says whether there was.

        Args:
            part: of html_parts.
            what: it is, for the line that says that it was left out.
        """
        size = len(part.encode(errors="backslashreplace"))
        if size > self._room:
            self._left_out.append(what)
            return False
        self._room -= size
        self._sections[-1][1].append(part)
        return True

    def takes(self, num_bytes: int) -> bool:
        """Says whether there is room for so many bytes of pictures."""
        return 4 * num_bytes // 3 + 4000 < self._room

    def encode(self) -> bytes:
        """Returns the page."""
        shown = [(number, title, parts) for number, (title, parts) in enumerate(self._sections) if parts]
        links = "".join(f'<li><a href="#s{number}">{escape(title)}</a></li>\n' for number, title, _ in shown if title)
        body = []
        for number, title, parts in shown:
            heading = f"<h2>{escape(title)}</h2>\n" if title else ""
            body.append(f'<section id="s{number}">\n{heading}{"".join(parts)}</section>\n')
            if not title:
                body.append(f'<nav aria-label="Sections"><ul>\n{links}</ul></nav>\n')
        if self._left_out:
            rest = len(self._left_out) - _NAMED
            named = [*self._left_out[:_NAMED], *([f"{rest} more"] if rest > 0 else [])]
            body.append("<section>\n<h2>Not on this page</h2>\n")
            body.append(paragraph(f"A page has {MOST_BYTES // 10**6} MB at most. For these there was no room:") + items(named))
            body.append("</section>\n")
        title = escape(self._title)
        page = (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<title>{title}</title>\n<link rel="icon" href="data:,">\n<style>{_STYLE}</style>\n</head>\n'
            f"<body>\n<main>\n<h1>{title}</h1>\n{''.join(body)}</main>\n</body>\n</html>\n"
        )
        return page.encode(errors="backslashreplace")
