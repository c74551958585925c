"""One picture of what the videos of a manifest are: classes, lengths, sizes, bit rates. Of ten million videos, too.

Only matplotlib's objects are used, never pyplot: that chooses a window system.
"""

import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.files import atomic_write
from c2d_fast.formats.manifest_file import ManifestFile
from c2d_fast.formats.texts import are_empty
from c2d_fast.prepare.tallies import Tallies, class_name, count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _FAINT, _BAR = "#222222", "#8a8a8a", "#4878a8"
_BINS = 60
_WIDE = 20.0
"""How many times the smallest value the largest is from which on the axis is logarithmic."""
_SIZES = 10  # that are shown
_NAME_CHARACTERS = 24


def write_plots(manifest: ManifestFile, path: Path) -> None:
    """Draws the usable videos of a manifest and writes the picture, a PNG, whole or not at all.

    Args:
        manifest: with all columns of facts.
        path: the file.

    Raises:
        OSError: it cannot be written.
    """
    figure = draw(manifest)
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png")


def draw(manifest: ManifestFile) -> "Figure":
    """Returns the figure: eight plots, which say where there is nothing to draw."""
    # Notes on its font cache and its folder for settings are no news to the user.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    good = are_empty(manifest.reasons)
    tallies = count(manifest, good)
    figure = Figure(figsize=(18, 9), dpi=100, facecolor="white", layout="constrained")
    parts: Any = figure.subplots(2, 4)
    broken = len(good) - tallies.videos
    name = _plain(Path(manifest.list_path).name, 80)
    figure.suptitle(f"{name}: {tallies.videos:,} videos can be used, {broken:,} cannot", color=_INK, parse_math=False)
    _draw_classes(parts[0, 0], manifest, tallies)
    frames = manifest.facts["frames"][good].astype(np.float32)
    fps, size = (column[good].astype(np.float32) for column in (manifest.facts["fps"], manifest.size))
    seconds = np.divide(frames, fps, out=np.zeros_like(frames), where=fps > 0)
    _draw_histogram(parts[0, 1], seconds, "length, seconds")
    _draw_histogram(parts[0, 2], frames, "length, frames")
    _draw_histogram(parts[0, 3], fps, "frames in a second")
    _draw_sizes(parts[1, 0], tallies)
    sides = np.minimum(manifest.facts["width"], manifest.facts["height"])[good]
    _draw_histogram(parts[1, 1], sides.astype(np.float32), "short side, pixels")
    _draw_histogram(parts[1, 2], size / 1e6, "size of the file, MB")
    rates = np.divide(8e-3 * size, seconds, out=np.zeros_like(size), where=seconds > 0)
    _draw_histogram(parts[1, 3], rates, "bit rate, kbit/s")
    return figure


def _draw_classes(axes: "Axes", manifest: ManifestFile, tallies: Tallies) -> None:
    """Draws the videos of each class, the most frequent first; classes without any that are known of come last."""
    if not _begin(axes, "videos per class", "classes, by their number of videos", bool(tallies.classes)):
        return
    common = sorted(tallies.classes.items(), key=lambda item: (-item[1], item[0]))
    known = max(len(manifest.classes or ()), len(common))
    numbers = np.zeros(known, np.int64)
    numbers[: len(common)] = [number for _, number in common]
    axes.stairs(numbers, np.arange(known + 1), fill=True, color=_BAR)
    axes.set_xlim(0, known)
    axes.set_ylim(0, 1.3 * int(numbers[0]))
    lines = [
        f"{what}: {_plain(class_name(manifest, label))}, {number:,}"
        for what, (label, number) in (("most", common[0]), ("fewest", common[-1]))
    ]
    lines += [f"{known - len(common):,} classes without a video"] if known > len(common) else []
    axes.text(0.98, 0.98, "\n".join(lines), ha="right", va="top", transform=axes.transAxes, fontsize=9, color=_INK,
              parse_math=False)  # fmt: skip


def _draw_sizes(axes: "Axes", tallies: Tallies) -> None:
    """Draws the most frequent sizes as bars, and all others as one."""
    if not _begin(axes, "width x height", "videos", bool(tallies.sizes)):
        return
    common = sorted(tallies.size_names().items(), key=lambda item: (-item[1], item[0]))
    shown = common[:_SIZES]
    if len(common) > _SIZES:
        shown.append((f"{len(common) - _SIZES:,} others", sum(number for _, number in common[_SIZES:])))
    places = np.arange(len(shown))
    axes.barh(places, [number for _, number in shown], height=0.7, color=_BAR)
    axes.set_yticks(places, [name for name, _ in shown], fontsize=9)
    axes.set_ylim(max(len(shown), 4) - 0.4, -0.6)


def _draw_histogram(axes: "Axes", values: NDArray[Any], title: str) -> None:
    """Draws how many videos have which value; those that are not known, or 0, are left out, and counted in the title."""
    known = values[values > 0]
    unknown = len(values) - len(known)
    title = f"{title} (not known of {unknown:,})" if unknown and len(known) else title
    if not _begin(axes, title, "", len(known) > 0):
        return
    low, high = float(known.min()), float(known.max())
    is_wide = high > _WIDE * low
    if not is_wide and not np.any(known % 1):  # whole numbers: as many of them in each bin
        width = np.ceil((high - low + 1) / _BINS)
        edges = np.arange(low, high + width + 1, width) - 0.5
    elif is_wide:
        edges = np.geomspace(low, high, _BINS + 1)
        axes.set_xscale("log")
    else:
        room = 0.5 if high - low < 1e-3 * high else 0.0  # all are the same
        edges = np.linspace(low - room, high + room, _BINS + 1)
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)  # rounded
    counts, _ = np.histogram(known, edges)
    axes.stairs(counts, edges, fill=True, color=_BAR)
    axes.set_ylabel("videos", fontsize=9)
    axes.text(0.98, 0.98, f"median {float(np.median(known)):.4g}\n{low:.4g} to {high:.4g}", ha="right", va="top",
              transform=axes.transAxes, fontsize=9, color=_INK)  # fmt: skip
    axes.set_ylim(0, 1.2 * max(int(counts.max()), 1))


def _begin(axes: "Axes", title: str, below: str, has_any: bool) -> bool:
    """Gives a plot its looks; returns whether there is anything to draw, and says so where there is not."""
    axes.set_title(title, fontsize=10, color=_INK, loc="left", parse_math=False)
    axes.set_xlabel(below, fontsize=9)
    axes.tick_params(labelsize=8, length=0, colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    if not has_any:
        axes.text(0.5, 0.5, "no video that it is known of", ha="center", va="center", transform=axes.transAxes, color=_FAINT)
        axes.set_xticks([])
        axes.set_yticks([])
    return has_any


@functools.cache
def _glyphs() -> frozenset[int]:
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    return frozenset(font.get_charmap())


def _plain(text: str, characters: int = _NAME_CHARACTERS) -> str:
    """Returns a name of one line, shortened, with only signs that a font has."""
    known = _glyphs()
    line = "".join(sign if ord(sign) in known else "\N{WHITE SQUARE}" for sign in " ".join(text.split()))
    return line if len(line) <= characters else f"{line[: characters - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"
