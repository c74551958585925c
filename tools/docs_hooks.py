"""What `make docs` does beside MkDocs: pages from outside docs/, and links that lead out of it."""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "project/overview.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "dali_pipes/README.md": "project/pipe-files.md",
}
"""File outside docs/ -> its page, as if it were a file in docs/."""
PICTURES = "benchmarks/results/plots/*.png"
INDEX = "# c2d-fast\n\nTrains C2D video classifiers from video files.\n\n"
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<link>[^)\s]+)\)")
_CODE = re.compile(r"(^```.*?^```[^\n]*$)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages from outside docs/, and a first page where docs/ has none."""
    for source, page in PAGES.items():
        if (ROOT / source).is_file():
            files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    for picture in sorted(ROOT.glob(PICTURES)):
        files.append(File.generated(config, str(picture.relative_to(ROOT)), abs_src_path=str(picture)))
    if not any(file.src_uri in ("index.md", "README.md") for file in files):
        pages = sorted(file.src_uri for file in files.documentation_pages())
        files.append(File.generated(config, "index.md", content=INDEX + "".join(f"- [{page}]({page})\n" for page in pages)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Returns a page's text with links that lead somewhere on the site: what has no page there keeps its words alone."""
    here = page.file.src_uri
    origin = {to: source for source, to in PAGES.items()}.get(here, f"docs/{here}")
    there = {file.src_uri for file in files}
    parts = _CODE.split(markdown)  # every second one is code
    parts[::2] = [_LINK.sub(lambda found: relinked(found, origin, here, there), part) for part in parts[::2]]
    return "".join(parts)


def relinked(found: "re.Match[str]", origin: str, here: str, there: set[str]) -> str:
    """Returns a link as it must be on the site.

    Args:
        found: the link as it is written.
        origin: file that it is written in, from the repository's root.
        here: the same file's place on the site.
        there: the places of all files of the site.
    """
    path, mark, anchor = found["link"].partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return found[0]
    target = os.path.normpath(os.path.join(os.path.dirname(origin), path))
    place = PAGES.get(target, target.removeprefix("docs/"))
    if place not in there:
        return "" if found["image"] else found["text"]
    return f"{found['image']}[{found['text']}]({os.path.relpath(place, os.path.dirname(here) or '.')}{mark}{anchor})"
