"""Figures of results: confusion matrix, figures by class. Arrays in, a figure out; nothing is kept between calls.

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

from c2d_fast.reporting.confusion import Confusion, Counts, as_confusion, confusion_counts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "axes_at",
    "class_accuracy_figure",
    "class_figure",
    "confusion_counts",
    "confusion_figure",
    "display_name",
    "encode_png",
    "new_figure",
    "warm_up",
]

INK, FAINT, BAR, ACCENT = "#222222", "#8a8a8a", "#4878a8", "#c44e52"
_NUMBERED, _NAMED, _WORST = 20, 40, 20
"""Most classes for numbers in the cells, and for all names; how many of the worst are named where there are more."""
_CONFUSED, _PAIRS = 40, 25
"""Where there are too many classes for a matrix of all: how many are in it, and how many mix-ups stand beside it."""
_DPI = 100
_NAME_CHARACTERS = 28


def confusion_figure(counts: Counts, classes: Sequence[str]) -> "Figure":
    """Draws a confusion matrix; colours are shares of the row.

    Names and numbers are written where there is room for them: names of up to 40 classes, numbers of up to 20. Of pairs alone
    the matrix has the 40 classes that are mixed up most often, and the most frequent mix-ups stand beside it.

    Args:
        counts: int [K, K], rows are labels, columns guesses, or the pairs that occur. Rows without a video stay blank.
        classes: K names.
    """
    if isinstance(counts, Confusion):
        return _confused_pairs_figure(counts, classes)
    num_classes = len(counts)
    named = num_classes <= _NAMED
    # Whole pixels for a cell, so that none is drawn thinner than another.
    side = num_classes * max(40 if num_classes <= _NUMBERED else 18 if named else round(760 / num_classes), 1)
    side = min(max(side, 240), 1600)
    names = [display_name(name) for name in classes] if named else []
    title = _confusion_title(as_confusion(counts))
    figure, axes, shares = _matrix(counts, counts.sum(1), names, names, (side, side), title, numbered=num_classes <= _NUMBERED)
    if num_classes <= _NUMBERED:
        _write_shares(axes, counts, shares)
    return figure


def _matrix(
    counts: NDArray[np.int64],
    videos: NDArray[np.int64],
    rows: Sequence[str],
    columns: Sequence[str],
    size: tuple[int, int],
    title: str,
    *,
    numbered: bool = False,
    right: int = 0,
) -> tuple["Figure", "Axes", NDArray[np.float64]]:
    """Draws counts as shares of each row's videos; without names the axes have numbers. Returns the shares, too."""
    shares = np.where(videos[:, None] > 0, counts / np.maximum(videos, 1)[:, None], np.nan)
    rows = [f"{name} ({number})" for name, number in zip(rows, videos.tolist(), strict=False)]
    (width, height), top, bar = size, 50, 24 if numbered else 92
    left, below = 40 + _pixels(rows, 30), 36 + round(0.75 * _pixels(columns, 30))
    figure = new_figure(max(left + width + bar + right, 400), below + height + top)
    axes = axes_at(figure, left, below, width, height)
    image = axes.imshow(shares, cmap=_colours(), norm=_norm(), interpolation="nearest", aspect="auto")
    _text_at(figure, 14, below + height + 10, title, 10, INK)  # a narrow matrix has no room for it above the axes alone
    axes.set_ylabel("label (videos)" if rows else "label, by number", fontsize=9)
    axes.set_xlabel("guess" if rows else "guess, by number", fontsize=9)
    _bare(axes)
    if rows:
        axes.set_yticks(range(len(rows)), rows, fontsize=8, parse_math=False)
        axes.set_xticks(
            range(len(columns)), columns, fontsize=8, rotation=45, ha="right", rotation_mode="anchor", parse_math=False
        )
    else:
        axes.tick_params(labelsize=8, length=3, color=FAINT)
    if not numbered:
        _colour_bar(figure, image, left + width + 16, below, height)
    return figure, axes, shares


def _confused_pairs_figure(confusion: Confusion, classes: Sequence[str]) -> "Figure":
    shown, wrong = confusion.most_confused_classes(_CONFUSED), confusion.off_diagonal
    names = [display_name(classes[label]) for label in shown]
    title = f"{_confusion_title(confusion)}; shown: the {len(shown)} classes that are mixed up most often"
    size, table = (16 * (len(shown) + 1), 16 * len(shown)), 370
    columns = [*names, "all other classes"]
    figure, _, _ = _matrix(confusion.submatrix(shown), confusion.videos[shown], names, columns, size, title, right=table)
    width, height = (figure.get_size_inches() * _DPI).round().astype(int).tolist()
    left, top = width - table, height - 50 - 14
    lines = [("of", "label", "taken for")]
    for label, guess, count in zip(
        *(part[:_PAIRS].tolist() for part in (wrong.labels, wrong.guesses, wrong.counts)), strict=True
    ):
        part = f"{count} of {confusion.videos[label]}"
        lines.append((part, display_name(classes[label], 23), display_name(classes[guess], 23)))
    lines[0] = ("times" if len(lines) > 1 else "no mix-up", *(lines[0][1:] if len(lines) > 1 else ("", "")))
    for index, texts in enumerate(lines):
        for offset, text in zip((0, 78, 222), texts, strict=True):
            colour, y = FAINT if index == 0 else INK, top - 24 * index
            _text_at(figure, left + offset, y, text, 8, colour)
    return figure


def class_accuracy_figure(counts: Counts, classes: Sequence[str]) -> "Figure":
    """Draws the accuracy of each class, the worst first; of more than 40 classes as a curve, with the 20 worst by name.

    Args:
        counts: int [K, K], rows are labels, columns guesses, or the pairs that occur.
        classes: K names.
    """
    confusion = as_confusion(counts)
    right, videos = confusion.correct.tolist(), confusion.videos.tolist()
    notes = [f"({hits} of {number})" for hits, number in zip(right, videos, strict=True)]
    title = ("Accuracy by class (top-1)", "top-1, %", "videos recognised, %")
    return class_figure(100 * confusion.accuracy, notes, classes, title)


def class_figure(
    values: NDArray[np.float64], notes: Sequence[str], classes: Sequence[str], words: tuple[str, str, str]
) -> "Figure":
    """Draws a figure of each class, the worst first; of more than 40 classes as a curve, with the 20 worst by name.

    Args:
        values: per cent, [K], nan for a class without a video.
        notes: what stands behind each class's figure, K of them.
        classes: K names.
        words: a title, what is drawn, and what the bars show of it.
    """
    order = np.argsort(values, kind="stable")  # classes without a video last
    seen = order[: int(np.isfinite(values).sum())]
    few = len(classes) <= _NAMED
    shown = order if few else seen[:_WORST]
    names = [display_name(classes[index]) for index in shown]
    height, left, curve = max(22 * len(shown), 60), 20 + _pixels(names, 30), 0 if few else 420
    figure = new_figure(left + 460 + curve, height + 86)
    title = f"{words[0]}, mean {f'{values[seen].mean():.1f} %' if len(seen) else '-'} (dashed)"
    if few:
        axes = axes_at(figure, left, 46, 330, height)
        axes.set_title(title, fontsize=10, color=INK, loc="left", pad=8)
    else:
        _class_curve(axes_at(figure, 60, 46, curve - 80, height), values[seen], len(classes), title, words[1])
        axes = axes_at(figure, curve + left, 46, 330, height)
        axes.set_title(f"The {len(shown)} worst classes", fontsize=10, color=INK, loc="left", pad=8)
    _class_bars(axes, values[shown], [notes[index] for index in shown], names)
    axes.set_xlabel(words[2], fontsize=9)
    if few and len(seen):
        axes.axvline(float(values[seen].mean()), color=ACCENT, linewidth=1, linestyle="--", zorder=0, alpha=0.6)
    return figure


def encode_png(figure: "Figure", scale: float = 1) -> bytes:
    """Returns the figure as a PNG file, of scale times its size in pixels."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=scale * _DPI, pil_kwargs={"compress_level": 3})
    return file.getvalue()


def warm_up() -> None:
    """Loads all that the first figure would wait for: half a second."""
    with contextlib.suppress(Exception):  # what is wrong shows when something is to be drawn
        encode_png(class_accuracy_figure(np.eye(2, dtype=np.int64), ("a", "b")))


def new_figure(width: int, height: int) -> "Figure":
    """Returns an empty white figure of a size in pixels."""
    # Notes on its font cache and its folder for settings are no news to who trains.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    return Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")


def display_name(name: str, characters: int = _NAME_CHARACTERS) -> str:
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


def _text_at(figure: "Figure", left: int, bottom: int, text: str, size: int, colour: str) -> None:
    place = (left / _DPI, bottom / _DPI, text)
    figure.text(*place, fontsize=size, color=colour, transform=figure.dpi_scale_trans).set_parse_math(False)


def _bare(axes: "Axes") -> None:
    axes.tick_params(length=0, colors=INK)
    for spine in axes.spines.values():
        spine.set_color("#cccccc")


def _confusion_title(counts: Confusion) -> str:
    videos = int(counts.videos.sum())
    share = f", top-1 {100 * counts.correct.sum() / videos:.1f} %" if videos else ""
    empty = int((counts.videos == 0).sum())
    note = f"; grey rows: no video ({empty})" if empty else ""
    return f"Confusion of {counts.num_classes} classes, {videos} videos{share}\n% of each label's videos{note}"


def _write_shares(axes: "Axes", counts: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    for row, column in zip(*(indices.tolist() for indices in counts.nonzero()), strict=True):
        share = float(shares[row, column])
        colour = "white" if share > 0.45 else INK
        text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)


def _colour_bar(figure: "Figure", image: Any, left: int, bottom: int, height: int) -> None:
    bar = figure.colorbar(image, cax=axes_at(figure, left, bottom, 14, height), ticks=[0, 0.05, 0.1, 0.25, 0.5, 0.75, 1])
    bar.ax.set_yticklabels(["0 %", "5 %", "10 %", "25 %", "50 %", "75 %", "100 %"], fontsize=8)
    bar.outline.set_edgecolor("#cccccc")  # type: ignore[operator]
    bar.ax.tick_params(length=0)


def _class_curve(axes: "Axes", values: NDArray[np.float64], num_classes: int, title: str, what: str) -> None:
    axes.plot(range(1, len(values) + 1), values, color=BAR, linewidth=1.5)
    if len(values):
        axes.axhline(float(values.mean()), color=ACCENT, linewidth=1, linestyle="--")
    without = num_classes - len(values)
    note = f" ({without} without a video left out)" if without else ""
    axes.set_title(title, fontsize=10, color=INK, loc="left", pad=8)
    axes.set_xlabel(f"classes, the worst first{note}", fontsize=9)
    axes.set_ylabel(what, fontsize=9)
    axes.set_ylim(-2, 102)
    axes.grid(color="#e5e5e5", linewidth=0.8)
    axes.tick_params(labelsize=8, length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _class_bars(axes: "Axes", values: NDArray[np.float64], notes: Sequence[str], names: Sequence[str]) -> None:
    indices = np.arange(len(names))
    axes.barh(indices, np.nan_to_num(values), height=0.7, color=BAR)
    for index, (value, note) in enumerate(zip(values.tolist(), notes, strict=True)):
        has_video = not np.isnan(value)
        text = f"{value:.0f} %  {note}" if has_video else "no video"
        axes.text((value if has_video else 0) + 1.5, index, text, va="center", fontsize=8, color=INK if has_video else FAINT)
    axes.set_yticks(indices, names, fontsize=8, parse_math=False)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_xlim(0, 100)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(length=0, labelsize=8, colors=INK)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color("#cccccc")
