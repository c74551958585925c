"""What keeps DALI's decoders from a list: codecs, sizes, and how its files are stored. Numpy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.manifest.manifest import Manifest
from c2d_fast.video.facts import is_cropped
from c2d_fast.video.reader import NEVER_WHOLE

DALI_CPU_CODECS = dict.fromkeys(("vp8", "vp9", "mjpeg"), (1, 1))
NVDEC_CODECS = {
    "h264": (48, 16),
    "hevc": (144, 144),
    "mpeg4": (48, 16),
    "vp8": (48, 16),
    "vp9": (128, 128),
    "av1": (128, 128),
}
"""Codecs that DALI 2.4 hands to NVDEC -> smallest (width, height), as NVIDIA documents it. Which of them a given card has is
not asked: the oldest lack AV1."""
_UNTRIED = ("vp8", "vp9", "av1")
"""Codecs that no GPU has shown to be numbered right by DALI: packets of them may hold frames that are not shown."""
# 8 bits, 4:2:0: what every NVDEC generation that DALI supports decodes of every codec above.
NVDEC_PIXELS = frozenset({"yuv420p", "yuvj420p"})
_LENGTH_PREFIXED = ("mov", "matroska", "flv")
"""Containers that keep H.264 and HEVC in the form whose parameter sets can be rewritten (ISO 14496-15)."""
_BT709 = 1  # H.273
_LOOKED_AT = 2**18  # videos at a time


def first_unfit(
    manifest: Manifest, codecs: dict[str, tuple[int, int]], pixels: frozenset[str] | None, whole_files: bool
) -> str:
    """Returns what keeps DALI's decoder from the list, "" if nothing does."""
    for start in range(0, len(manifest.kept), _LOOKED_AT):
        rows = manifest.kept[start : start + _LOOKED_AT]
        unfit = _are_unfit(manifest.facts[rows], codecs, pixels, whole_files)
        if unfit.any():
            first = int(unfit.argmax())
            return f"{manifest.location(start + first)} {_unfit(manifest.facts[rows[first]], codecs, pixels)}"
    return ""


def _are_unfit(
    facts: NDArray[Any], codecs: dict[str, tuple[int, int]], pixels: frozenset[str] | None, whole_files: bool
) -> NDArray[np.bool_]:
    known = facts["codec"][:, None] == np.array([codec.encode() for codec in codecs])
    smallest = known @ np.array(list(codecs.values()))  # [videos, 2]; zeros where the codec is another
    unfit = ~known.any(1) | (facts["width"] < smallest[:, 0]) | (facts["height"] < smallest[:, 1]) | ~facts["in_order"]
    unfit |= facts["interlaced"]
    is_whole = (facts["entries"] == 0) | whole_files
    unfit |= np.isin(facts["codec"], [codec.encode() for codec in NEVER_WHOLE]) & is_whole
    unfit |= _is_stuck(facts, whole_files) if pixels else False
    if pixels:
        unfit |= ~np.isin(facts["pix_fmt"], [name.encode() for name in pixels])
    is_read: NDArray[np.bool_] = facts["frames"] > 0  # one that is kept for its place in the order only never is
    return np.asarray(unfit & is_read)


def _unfit(row: Any, codecs: dict[str, tuple[int, int]], pixels: frozenset[str] | None) -> str:
    codec, pix_fmt, width, height = row["codec"].decode(), row["pix_fmt"].decode(), row["width"], row["height"]
    if codec not in codecs:
        return f"is {codec}"
    if width < codecs[codec][0] or height < codecs[codec][1]:
        smallest = "{}x{}".format(*codecs[codec])
        return f"is {width}x{height}, and {codec} must be {smallest} at least"
    if pixels and pix_fmt not in pixels:
        return f"is stored as {pix_fmt}"
    if not row["in_order"]:
        return "has timestamps by which DALI would number its frames differently"
    return _unfit_for_how_it_is_stored(row)


def _unfit_for_how_it_is_stored(row: Any) -> str:
    if row["interlaced"]:
        return "is interlaced: DALI would make a frame of each field"
    if (codec := row["codec"].decode()) in NEVER_WHOLE:
        return f"is {codec} that is read whole: DALI would number its frames by their order in the file"
    return "is cropped, and stored so that this cannot be cleared for NVDEC"


def untried(manifest: Manifest) -> str:
    """Returns why auto leaves a list to FFmpeg though NVDEC may decode it."""
    for start in range(0, len(manifest.kept), _LOOKED_AT):
        facts = manifest.facts[manifest.kept[start : start + _LOOKED_AT]]
        is_untried = np.isin(facts["codec"], [codec.encode() for codec in _UNTRIED]) & (facts["frames"] > 0)
        if is_untried.any():
            first = int(is_untried.argmax())
            codec = facts["codec"][first].decode()
            return f"{manifest.location(start + first)} is {codec}, whose frames no GPU has shown yet to be numbered right"
    return ""


def colour_note(manifest: Manifest) -> str:
    """Returns what is to be said of colours that DALI converts otherwise than they are tagged, "" for nothing."""
    tagged = int((manifest.facts["matrix"] == _BT709).sum())
    return f"; it takes the {tagged} videos tagged BT.709 for BT.601, --decoder ffmpeg would not" if tagged else ""


def _is_stuck(facts: NDArray[Any], whole_files: bool) -> NDArray[np.bool_]:
    """Says which videos are cropped in a file whose cropping cannot be cleared, see docs/decisions/0012.

    All are cleared or none: DALI gives a session of NVDEC's that was made for one kind to the other.
    """
    can_be = np.isin(facts["container"], [name.encode() for name in _LENGTH_PREFIXED]) & (facts["entries"] > 0)
    return is_cropped(facts) & ~can_be & (not whole_files)
