"""Figures of runs: curves of several runs over each other. Arrays in, a figure out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from c2d_fast.reporting.charts import FAINT, INK, axes_at, display_name, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#4878a8", "#e1812c", "#3a923a", "#c03d3e", "#9372b2", "#845b53", "#d684bd", "#797979", "#a9a922", "#2eabb8")
_DASHES: tuple[Any, ...] = ("-", "--", ":", "-.")
_WIDTH, _HEIGHT, _LEFT, _BELOW, _ABOVE, _RIGHT = 500, 230, 64, 44, 34, 20
"""Of a panel, in pixels: its axes, and the room beside them."""


@dataclass(frozen=True)
class Line:
    """A curve of a run."""

    run: int
    """Its index among the names of the runs."""
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    """Nan where the line is to be interrupted."""
    validation: bool = False


@dataclass(frozen=True)
class Panel:
    """One of the charts that share a figure."""

    title: str
    """With the unit."""
    x_title: str
    lines: Sequence[Line]
    levels: Sequence[tuple[float, str]] = ()
    """Dashed lines: height and name."""
    log: bool = False
    from_zero: bool = False

    def is_empty(self) -> bool:
        """Says whether there is nothing to draw."""
        return not any(np.isfinite(line.y).any() for line in self.lines)


def curves_figure(
    panels: Sequence[Panel], runs: Sequence[str], *, columns: int = 2, wide: float = 1, names: bool = True
) -> "Figure":
    """Draws panels beside each other, each with the curves of all runs, and above them the runs' names.

    Args:
        panels: at least one.
        runs: names.
        columns: panels in a row.
        wide: times the usual width.
        names: whether there are any above; otherwise they stand elsewhere, with run_colour and run_stroke.
    """
    columns, width = min(columns, len(panels)), round(_WIDTH * wide)
    rows = -(-len(panels) // columns)
    cell, row = _LEFT + width + _RIGHT, _ABOVE + _HEIGHT + _BELOW
    legend_columns = max(columns * cell // 380, 1)
    legend = 16 + 20 * -(-(len(runs) + 2) // legend_columns) if names else 0
    figure = new_figure(columns * cell, rows * row + legend)
    for index, panel in enumerate(panels):
        left, bottom = index % columns * cell + _LEFT, (rows - 1 - index // columns) * row + _BELOW
        _draw(axes_at(figure, left, bottom, width, _HEIGHT), panel)
    if names:
        _legend(figure, runs, panels, legend_columns)
    return figure


def run_colour(run: int) -> str:
    """Returns the colour of a run's curves, as #rrggbb; run is its index among the names."""
    return _COLOURS[run % len(_COLOURS)]


def run_stroke(run: int) -> str:
    """Returns how a run's curves are drawn: solid, dashed or dotted."""
    return {"-": "solid", ":": "dotted"}.get(_dashes(run), "dashed")


def _draw(axes: "Axes", panel: Panel) -> None:
    for line in sorted(panel.lines, key=lambda line: line.validation):
        few = np.isfinite(line.y).sum() <= 30
        style = (
            {"linewidth": 1.6, "marker": "o", "markersize": 4.0 if few else 2.0} if line.validation else _training_style(few)
        )
        axes.plot(line.x, line.y, color=run_colour(line.run), linestyle=_dashes(line.run), **style)
    for height, name in panel.levels:
        axes.axhline(height, color=FAINT, linewidth=1, linestyle="--")
        transform = axes.get_yaxis_transform()
        text = axes.text(0.01, height, display_name(name, 60), transform=transform, va="bottom", fontsize=8, color=FAINT)
        text.set_parse_math(False)
    axes.set_title(panel.title, fontsize=10, color=INK, loc="left", pad=8)
    axes.set_xlabel(panel.x_title, fontsize=9, color=INK)
    axes.grid(color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color("#cccccc")
    axes.tick_params(labelsize=8, length=0, colors=INK, which="both")
    if panel.log:
        axes.set_yscale("log")
    if panel.levels:  # its name stands above the line
        low, high = axes.get_ylim()
        axes.set_ylim(low, max(high, max(height for height, _ in panel.levels) + 0.09 * (high - low)))
    if panel.from_zero:
        axes.set_ylim(bottom=0)


def _training_style(few: bool) -> dict[str, Any]:
    return {"linewidth": 1.0, "alpha": 0.75, "marker": "." if few else "", "markersize": 4.0}


def _dashes(run: int) -> Any:
    return _DASHES[run // len(_COLOURS) % len(_DASHES)]


def _legend(figure: "Figure", runs: Sequence[str], panels: Sequence[Panel], columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=run_colour(run), linestyle=_dashes(run), linewidth=3) for run in range(len(runs))]
    names = [display_name(name, 50) for name in runs]
    if any(line.validation for panel in panels for line in panel.lines):
        handles.append(Line2D([], [], color=INK, linewidth=1))
        handles.append(Line2D([], [], color=INK, linewidth=1.6, marker="o", markersize=4))
        names += ["training", "validation"]
    # Names are put in afterwards: a legend leaves out those that begin with an underscore.
    numbers = list(map(str, range(len(names))))
    legend = figure.legend(handles, numbers, loc="upper left", ncols=columns, frameon=False, fontsize=9, borderaxespad=0.6)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)
