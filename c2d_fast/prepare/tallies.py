"""Counts what the videos of a manifest are, some at a time: of ten million no second copy is made. Numpy only."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.formats.manifest_file import ManifestFile

_ROWS = 2**18  # videos at a time
_SAMPLE = 500  # videos that stand for all
_GOPS = ((1, "1 (all-intra)"), (16, "2 to 16"), (64, "17 to 64"), (256, "65 to 256"))
_LONGER = "above 256"
_FEW_SIZES = 20
_SIDE = 320  # pixels of the short side that no recipe here goes beyond


@dataclass
class Tallies:
    """Numbers of the usable videos of a manifest."""

    sample: NDArray[np.int64]
    """Rows of some of them, evenly spread."""
    videos: int = 0
    labels: int = 0
    """Of a list with any number of labels of a video all of them."""
    classes: Counter[int] = field(default_factory=Counter)
    codecs: Counter[str] = field(default_factory=Counter)
    """By codec and pixel format."""
    containers: Counter[str] = field(default_factory=Counter)
    sizes: Counter[int] = field(default_factory=Counter)
    """By width times 2**32 plus height."""
    gops: Counter[str] = field(default_factory=Counter)
    notable: Counter[str] = field(default_factory=Counter)
    several_streams: list[int] = field(default_factory=list)
    """Rows of those with a choice of video streams."""
    costs: Counter[str] = field(default_factory=Counter)
    """What makes videos slow to decode -> how many."""

    def add(self, rows: NDArray[np.int64], labels: NDArray[np.integer], facts: NDArray[Any]) -> None:
        """Counts some usable videos: their rows and facts, one element each, and all their labels."""
        self.videos += len(rows)
        self.labels += len(labels)
        _add_numbers(self.classes, labels)
        _add_texts(self.codecs, facts["codec"], facts["pix_fmt"])
        _add_texts(self.containers, facts["container"])
        _add_numbers(self.sizes, (facts["width"].astype(np.int64) << 32) + facts["height"])
        names = [name for _, name in _GOPS] + [_LONGER]
        places = np.searchsorted([limit for limit, _ in _GOPS], facts["longest_gop"])
        _add_masks(self.gops, {name: places == place for place, name in enumerate(names)})
        _add_masks(self.notable, _notable(facts))
        _add_masks(self.costs, _costly(facts))
        self.several_streams += rows[facts["video_streams"] > 1].tolist()

    def size_names(self) -> dict[str, int]:
        """Returns the sizes as `WIDTHxHEIGHT`."""
        return {f"{size >> 32}x{size & (2**32 - 1)}": number for size, number in self.sizes.items()}

    def costly(self) -> Iterator[tuple[str, int]]:
        """Yields what makes the videos slow to decode, and how many of what it is said of."""
        for text in _COSTS:
            if text == _SIZES:
                yield text, len(self.sizes) if len(self.sizes) > _FEW_SIZES else 0
            else:
                yield text, self.costs[text]


def count(manifest: ManifestFile, good: NDArray[np.bool_]) -> Tallies:
    """Counts the usable videos of a manifest.

    Args:
        manifest: with all columns of facts.
        good: bool [videos], which can be used.
    """
    usable, sets = int(good.sum()), manifest.label_sets
    tallies = Tallies(np.flatnonzero(good)[:: max(usable // _SAMPLE, 1)])
    for first in range(0, len(good), _ROWS):
        rows = first + np.flatnonzero(good[first : first + _ROWS])
        if len(rows):
            labels = manifest.labels[rows] if sets is None else sets.take(rows).classes
            tallies.add(rows, labels, manifest.facts[rows])
    return tallies


def class_name(manifest: ManifestFile, label: int) -> str:
    """Returns what a class is called."""
    return manifest.classes[label] if manifest.classes else f"class {label}"


def _notable(facts: NDArray[Any]) -> dict[str, NDArray[np.bool_]]:
    return {
        "B-frames": facts["reordered"],
        "with audio": facts["audio"],
        "variable frame rate": ~facts["constant_rate"],
        "turned by their container": facts["orientation"] != 0,
        "interlaced": facts["interlaced"],
        "pixels that are not square (read as if they were)": (facts["pixel_aspect"] != 0) & (facts["pixel_aspect"] != 1),
        "several video streams (FFmpeg's choice is read)": facts["video_streams"] > 1,
        "full range": facts["full_range"],
        "tagged BT.709": facts["matrix"] == 1,
        "other number of frames than the header says": (facts["promised_frames"] > 0)
        & (facts["promised_frames"] != facts["frames"]),
    }


_SIZES = "different sizes: NVDEC's sessions can be used again for the same size only; transcoding leaves a few"
_COSTS = (
    "videos are read whole and decoded from their beginning: interlaced, or their packets do not tell which frames they become",
    "videos are decoded from their beginning: their key frames are no safe place to start",
    "videos are coded in a larger size than shown: DALI, by its source, makes a new NVDEC session each time",
    _SIZES,
    f"videos have a short side above {_SIDE}: more pixels are decoded than any recipe here uses",
    "videos are not 8 bits 4:2:0: with them in the list, NVDEC is not used",
    "videos would be numbered differently by DALI: with them in the list, NVDEC is not used",
)


def _costly(facts: NDArray[Any]) -> dict[str, NDArray[np.bool_]]:
    masks = (
        facts["entries"] == 0,
        (facts["entries"] == 1) & (facts["key_frames"] > 1),
        (facts["coded_width"] != facts["width"]) | (facts["coded_height"] != facts["height"]),
        np.minimum(facts["width"], facts["height"]) > _SIDE,
        ~np.isin(facts["pix_fmt"], [b"yuv420p", b"yuvj420p"]),
        ~facts["in_order"],
    )
    return dict(zip((text for text in _COSTS if text != _SIZES), masks, strict=True))


def _add_masks(counts: Counter[str], masks: dict[str, NDArray[np.bool_]]) -> None:
    for name, mask in masks.items():
        if number := int(mask.sum()):
            counts[name] += number


def _add_numbers(counts: Counter[int], numbers: NDArray[np.integer]) -> None:
    found, each = np.unique(numbers, return_counts=True)
    counts.update(dict(zip(found.tolist(), each.tolist(), strict=True)))


def _add_texts(counts: Counter[str], *columns: NDArray[Any]) -> None:
    """Counts combinations of short texts, of which there are few: sorting them would take much longer."""
    left = np.ones(len(columns[0]), bool)
    while left.any():
        first = int(left.argmax())
        same = left & np.logical_and.reduce([column == column[first] for column in columns])
        counts[", ".join(column[first].decode() for column in columns)] += int(same.sum())
        left &= ~same
