"""Reads of a published checkpoint which backbone its training configuration names: as text, nothing in the file is built."""

import re
import zipfile
from pathlib import Path

from c2d_fast.formats.archive_members import DAMAGED, check_stored

_MOST_BYTES = 64 * 2**20
_BEGIN = re.compile(rb"""["']?backbone["']?\s*[=:]\s*(?:dict\()?[({]?""")
_KIND = re.compile(rb"""["']?type["']?\s*[=:]\s*["'](\w+)["']""")
_LONGEST = 20_000


def backbone_of(path: Path) -> str:
    """Returns the type of the backbone in a checkpoint's training configuration; "" where the file holds none.

    Args:
        path: a file of torch.save's, whose pickle holds the configuration as one text.
    """
    try:
        if not zipfile.is_zipfile(path):
            return ""
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("data.pkl")]
            if len(names) != 1 or archive.getinfo(names[0]).file_size > _MOST_BYTES:
                return ""
            check_stored(archive, path.stat().st_size)
            text = archive.read(names[0])
    except DAMAGED:
        return ""
    kinds = {kind for match in _BEGIN.finditer(text) if (kind := _type_of(text[match.end() : match.end() + _LONGEST]))}
    return kinds.pop() if len(kinds) == 1 else ""


def _type_of(text: bytes) -> str:
    """Returns the type of a dictionary whose inside the text begins with; those within it do not count."""
    depth, own = 0, bytearray()
    for byte in text:
        if byte in b"([{":
            depth += 1
        elif byte in b")]}":
            if depth == 0:
                break
            depth -= 1
        elif depth == 0:
            own.append(byte)
    match = _KIND.search(bytes(own))
    return match[1].decode() if match else ""
