"""Figures of results: confusion matrix, accuracy by class. Arrays in, a figure out; nothing is kept between calls.

Only matplotlib's objects are used, never pyplot: that holds figures, and chooses a window system.
"""

import contextlib
import functools
import io
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, BAR, ACCENT = "#222222", "#8a8a8a", "#4878a8", "#c44e52"
_NUMBERED, _NAMED, _WORST = 20, 40, 20
"""Most classes for numbers in the cells, and for all names; how many of the worst are named where there are more."""
_DPI = 100
_NAME_CHARACTERS = 28


def confusion_counts(labels: NDArray[np.integer], guesses: NDArray[np.integer], num_classes: int) -> NDArray[np.int64]:
    """Counts how often each class was taken for each.

    Args:
        labels: integers [N], 0 <= label < num_classes.
        guesses: integers [N], of the same range.
        num_classes: K.

    Returns:
        int64 [K, K]: rows are labels, columns guesses.
    """
    places = labels.astype(np.int64) * num_classes + guesses.astype(np.int64)
    return np.bincount(places, minlength=num_classes**2).astype(np.int64).reshape(num_classes, num_classes)


def class_accuracy(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns of each class the share of its videos that were recognised, [K], nan for classes without a video."""
    videos = counts.sum(1)
    return np.where(videos, counts.diagonal() / np.maximum(videos, 1), np.nan)


def confusion_figure(counts: NDArray[np.int64], classes: Sequence[str]) -> "Figure":
    """Draws a confusion matrix; colours are shares of the row.

    Names and numbers are written where there is room for them: names of up to 40 classes, numbers of up to 20.

    Args:
        counts: int [K, K], rows are labels, columns guesses. Rows without a video stay blank.
        classes: K names.
    """
    num_classes, videos = len(counts), counts.sum(1)
    shares = np.where(videos[:, None] > 0, counts / np.maximum(videos, 1)[:, None], np.nan)
    named = num_classes <= _NAMED
    names = [readable(name) for name in classes] if named else []
    rows = [f"{name} ({number})" for name, number in zip(names, videos.tolist(), strict=False)]
    # Whole pixels for a cell, so that none is drawn thinner than another.
    side = num_classes * max(40 if num_classes <= _NUMBERED else 18 if named else round(760 / num_classes), 1)
    side = min(max(side, 240), 1600)
    left, below = 40 + _pixels(rows, 30), 36 + round(0.75 * _pixels(names, 30))
    top, right = 50, 24 if num_classes <= _NUMBERED else 92
    figure = new_figure(max(left + side + right, 400), below + side + top)
    axes = axes_at(figure, left, below, side, side)
    image = axes.imshow(shares, cmap=_colours(), norm=_norm(), interpolation="nearest", aspect="auto")
    # A narrow matrix has no room for it above the axes alone. transform=None: the place is in pixels.
    figure.text(14, below + side + 10, _confusion_title(counts), fontsize=10, color=INK, transform=None)
    axes.set_ylabel("label (videos)" if named else "label, by number", fontsize=9)
    axes.set_xlabel("guess" if named else "guess, by number", fontsize=9)
    _bare(axes)
    if named:
        places = range(num_classes)
        axes.set_yticks(places, rows, fontsize=8, parse_math=False)
        axes.set_xticks(places, names, fontsize=8, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    else:
        axes.tick_params(labelsize=8, length=3, color=FAINT)
    if num_classes <= _NUMBERED:
        _write_shares(axes, counts, shares)
    else:
        _colour_bar(figure, image, left + side + 16, below, side)
    return figure


def class_accuracy_figure(counts: NDArray[np.int64], classes: Sequence[str]) -> "Figure":
    """Draws the accuracy of each class, the worst first; of more than 40 classes as a curve, with the 20 worst by name.

    Args:
        counts: int [K, K], rows are labels, columns guesses.
        classes: K names.
    """
    accuracy, videos = 100 * class_accuracy(counts), counts.sum(1)
    order = np.argsort(accuracy, kind="stable")  # classes without a video last
    seen = order[: int((videos > 0).sum())]
    few = len(counts) <= _NAMED
    shown = order if few else seen[:_WORST]
    names = [readable(classes[place]) for place in shown]
    height, left, curve = max(22 * len(shown), 60), 20 + _pixels(names, 30), 0 if few else 420
    figure = new_figure(left + 460 + curve, height + 86)
    mean = f"{accuracy[seen].mean():.1f} %" if len(seen) else "-"
    if few:
        axes = axes_at(figure, left, 46, 330, height)
        axes.set_title(f"Accuracy by class (top-1), mean {mean} (dashed)", fontsize=10, color=INK, loc="left", pad=8)
    else:
        _accuracy_curve(axes_at(figure, 60, 46, curve - 80, height), accuracy[seen], len(counts), mean)
        axes = axes_at(figure, curve + left, 46, 330, height)
        axes.set_title(f"The {len(shown)} worst classes", fontsize=10, color=INK, loc="left", pad=8)
    _accuracy_bars(axes, accuracy[shown], counts.diagonal()[shown], videos[shown], names)
    if few and len(seen):
        axes.axvline(float(accuracy[seen].mean()), color=ACCENT, linewidth=1, linestyle="--", zorder=0, alpha=0.6)
    return figure


def png(figure: "Figure") -> bytes:
    """Returns the figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, pil_kwargs={"compress_level": 3})
    return file.getvalue()


def warm_up() -> None:
    """Loads all that the first figure would wait for: half a second."""
    with contextlib.suppress(Exception):  # what is wrong shows when something is to be drawn
        png(class_accuracy_figure(np.eye(2, dtype=np.int64), ("a", "b")))


def new_figure(width: int, height: int) -> "Figure":
    """Returns an empty white figure of a size in pixels."""
    # Notes on its font cache and its folder for settings are no news to who trains.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    return Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")


def readable(name: str, characters: int = _NAME_CHARACTERS) -> str:
    """Returns a name as a figure can show it: on one line, shortened in its middle, without signs that the font lacks."""
    known = _glyphs()
    name = "".join(sign if ord(sign) in known else "\N{WHITE SQUARE}" for sign in " ".join(name.split()))
    if len(name) <= characters:
        return name
    end = characters // 3
    return f"{name[: characters - end - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}{name[-end:].lstrip()}"


@functools.cache
def _glyphs() -> frozenset[int]:
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    return frozenset(font.get_charmap())


@functools.cache
def _colours() -> Any:
    import matplotlib

    return matplotlib.colormaps["Blues"].with_extremes(bad="#eeeeee")


def _norm() -> Any:
    """Small shares are what one looks for: they get more than their share of the colours."""
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.6, vmin=0, vmax=1)


def _pixels(texts: Sequence[str], least: int) -> int:
    """Returns about how wide the widest text is, in a font of 8 points: measuring would draw each twice."""
    return max([least, *(round(5.7 * len(text)) for text in texts)])


def axes_at(figure: "Figure", left: int, bottom: int, width: int, height: int) -> "Axes":
    """Returns axes at a place in pixels."""
    whole_width, whole_height = (figure.get_size_inches() * _DPI).tolist()
    return figure.add_axes((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))


def _bare(axes: "Axes") -> None:
    axes.tick_params(length=0, colors=INK)
    for spine in axes.spines.values():
        spine.set_color("#cccccc")


def _confusion_title(counts: NDArray[np.int64]) -> str:
    videos = int(counts.sum())
    share = f", top-1 {100 * counts.trace() / videos:.1f} %" if videos else ""
    empty = int((counts.sum(1) == 0).sum())
    note = f"; grey rows: no video ({empty})" if empty else ""
    return f"Confusion of {len(counts)} classes, {videos} videos{share}\n% of each label's videos{note}"


def _write_shares(axes: "Axes", counts: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    for row, column in zip(*(places.tolist() for places in counts.nonzero()), strict=True):
        share = float(shares[row, column])
        colour = "white" if share > 0.45 else INK
        text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)


def _colour_bar(figure: "Figure", image: Any, left: int, bottom: int, height: int) -> None:
    bar = figure.colorbar(image, cax=axes_at(figure, left, bottom, 14, height), ticks=[0, 0.05, 0.1, 0.25, 0.5, 0.75, 1])
    bar.ax.set_yticklabels(["0 %", "5 %", "10 %", "25 %", "50 %", "75 %", "100 %"], fontsize=8)
    bar.outline.set_edgecolor("#cccccc")  # type: ignore[operator]
    bar.ax.tick_params(length=0)


def _accuracy_curve(axes: "Axes", accuracy: NDArray[np.float64], num_classes: int, mean: str) -> None:
    axes.plot(range(1, len(accuracy) + 1), accuracy, color=BAR, linewidth=1.5)
    if len(accuracy):
        axes.axhline(float(accuracy.mean()), color=ACCENT, linewidth=1, linestyle="--")
    without = num_classes - len(accuracy)
    note = f" ({without} without a video left out)" if without else ""
    axes.set_title(f"Accuracy by class (top-1), mean {mean} (dashed)", fontsize=10, color=INK, loc="left", pad=8)
    axes.set_xlabel(f"classes, the worst first{note}", fontsize=9)
    axes.set_ylabel("top-1, %", fontsize=9)
    axes.set_ylim(-2, 102)
    axes.grid(color="#e5e5e5", linewidth=0.8)
    axes.tick_params(labelsize=8, length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _accuracy_bars(
    axes: "Axes", accuracy: NDArray[np.float64], right: NDArray[np.int64], videos: NDArray[np.int64], names: Sequence[str]
) -> None:
    places = np.arange(len(names))
    axes.barh(places, np.nan_to_num(accuracy), height=0.7, color=BAR)
    for place, (share, hits, number) in enumerate(zip(accuracy.tolist(), right.tolist(), videos.tolist(), strict=True)):
        text = f"{share:.0f} %  ({hits} of {number})" if number else "no video"
        axes.text((share if number else 0) + 1.5, place, text, va="center", fontsize=8, color=INK if number else FAINT)
    axes.set_yticks(places, names, fontsize=8, parse_math=False)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_xlim(0, 100)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("videos recognised, %", fontsize=9)
    axes.tick_params(length=0, labelsize=8, colors=INK)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color("#cccccc")
