"""The hardest videos of a result on a page, with pictures where the videos can be read. No torch."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from c2d_fast.reporting import html_parts as parts
from c2d_fast.reporting.dump_file import Result
from c2d_fast.reporting.html_report import HtmlReport
from c2d_fast.reporting.video_strip import video_strip
from c2d_fast.tables import Table
from c2d_fast.video.reader import DecodeError

_MOST = 60
"""Videos of a result that get a picture."""
_PICTURE_BYTES = 120_000
"""Of one, about the most."""
_FRAMES = 4


def hardest_cards(page: HtmlReport, result: Result, hardest: Table, name: str) -> None:
    """Adds pictures of videos, with their labels and guesses; where there is none a line says why.

    Args:
        page: gets them.
        result: whose summary says where its videos are.
        hardest: rows of path, label, its probability, guess, its probability.
        name: of the result.
    """
    cards, pictured, why = "", 0, ""
    for row in hardest.rows[:_MOST]:
        found = _picture(result, row[0], page, len(cards))
        lines = [("label", f"label {row[1]}: {row[2]:.4f}")]
        # Of several labels the guess may be another.
        kind = "right" if row[3] == row[1] else "wrong" if result.kind == "single" else ""
        lines += [(kind, f"guess {row[3]}: {row[4]:.4f}"), ("path", row[0])]
        if isinstance(found, str):
            why = why or f"{row[0]}: {found}"
            card = parts.card([*lines, ("faint", f"no picture: {found}")])
        else:
            pictured += 1
            alt = f"{_FRAMES} frames of {row[0]}, label {row[1]}, guess {row[3]}"
            card = parts.card(lines, _jpeg(found), alt, (found.shape[1], found.shape[0]))
        cards += card if page.takes(len(cards) + len(card)) else ""
    content = parts.table(hardest, f"{name}: videos with the lowest probability of their label")
    if pictured:
        page.add(parts.grid([cards], "cards"), f"pictures of {name}")
        page.add(parts.folded("The same as a table", content), f"the hardest videos of {name}")
    else:
        page.add(content, f"the hardest videos of {name}")
        page.add(parts.paragraph(f"No pictures of these videos. {why}.", "faint"), "why there are no pictures")


def _picture(result: Result, video: str, page: HtmlReport, more: int) -> NDArray[np.uint8] | str:
    """Returns a picture of a video, RGB uint8 [H, W, C]; or why there is none; more bytes are to be added yet."""
    where = _file_of(result, video)
    if isinstance(where, str):
        return where
    if not page.takes(more + _PICTURE_BYTES):
        return "the page is full"
    try:
        return video_strip(where, frames=_FRAMES)
    except DecodeError as error:
        return str(error)


def _file_of(result: Result, video: str) -> Path | str:
    """Returns where a video is, or why that is not known."""
    facts = result.summary.get("result")
    of_list: Any = facts.get("list") if isinstance(facts, dict) else None
    root = of_list.get("root") if isinstance(of_list, dict) else None
    if "://" in video or (isinstance(root, str) and "://" in root):
        return "it is not on this machine's disks, and a page is made without the network"
    if Path(video).is_absolute():
        return Path(video)
    if not isinstance(root, str):
        return f"{result.path.name}.summary.json does not say which folder its list was of"
    return Path(root, video)


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=82)
    return file.getvalue()
