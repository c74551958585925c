"""Checksums of JSON that is read back, as a member more of it: lines stay lines of JSON."""

import re
import zlib

from c2d_fast.formats.schemas import ShapeError

_SUM = re.compile(rb', "crc32(?:": "| )([0-9a-f]{8})"([\]}])\Z')
"""How a line or file ends that carries its checksum, and is still JSON: a member more of its object, or of its list."""


def add_checksum(text: str) -> bytes:
    """Returns the text of a JSON object or list with its checksum as a member more; an empty one as it is."""
    data = text.encode()
    if len(data) <= 2:
        return data
    crc = f"{zlib.crc32(data):08x}"
    return data[:-1] + (f', "crc32": "{crc}"}}' if text[-1] == "}" else f', "crc32 {crc}"]').encode()


def strip_checksum(data: bytes) -> tuple[bytes, bool]:
    """Returns a text as it was before add_checksum, and whether it had a checksum.

    Raises:
        ShapeError: it has one, and is not what it is of.
    """
    found = _SUM.search(data[-40:])
    if not found:
        return data, False
    text = data[: len(data) - (found.end() - found.start())] + found[2]
    if zlib.crc32(text) != int(found[1], 16):
        raise ShapeError("it does not match its checksum")
    return text, True
