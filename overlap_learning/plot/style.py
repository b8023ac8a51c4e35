"""Style: the colours, marks and legends that all pictures share."""

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import isotonic_regression

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's colours without yellow: told apart with every common kind of colour vision, also on white paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: Paul Tol's muted colours, those that are readable as text first: for up to nine lines, also safe.
MANY_COLOURS = (
    "#332288", "#CC6677", "#117733", "#44AA99", "#882255", "#999933", "#AA4499", "#88CCEE", "#DDCC77",
)  # fmt: skip
#: Marks along a curve that is drawn as marks.
N_MARKS = 20
FONT_SIZE = 9


@dataclasses.dataclass(frozen=True)
class Look:
    """How one of several compared things is drawn.

    Args:
        colour: its colour, where colour tells the compared things apart.
        line: settings of matplotlib's Line2D.
        invisible_line: the same for invisible overlaps.
        spaced: whether it is drawn as marks spaced along the curve.
    """

    colour: str
    line: dict[str, Any]
    invisible_line: dict[str, Any]
    spaced: bool = False

    def settings(self, n_points: int, *, invisible: bool = False) -> dict[str, Any]:
        """Settings for a curve of `n_points` points, all but its colour."""
        chosen = dict(self.invisible_line if invisible else self.line)
        if not self.spaced:
            return chosen
        # The last point is marked too.
        marked = np.unique(np.linspace(0, n_points - 1, min(n_points, N_MARKS + 1)).round().astype(int))
        return chosen | {"markevery": marked.tolist()}


def _line(colour: str, style: Any, width: float, invisible_style: Any = None) -> Look:
    return Look(
        colour,
        {"linestyle": style, "linewidth": width},
        {"linestyle": style if invisible_style is None else invisible_style, "linewidth": width},
    )


def _marks(colour: str, marker: str, invisible_marker: str) -> Look:
    shared = {"linestyle": "none", "markersize": 5, "markerfacecolor": "none"}
    return Look(colour, shared | {"marker": marker}, shared | {"marker": invisible_marker}, spaced=True)


THEORY = _line("#0072B2", "-", 1.8, (0, (5, 2)))
FULL = _marks("#000000", "o", "s")
DIRECT = _line("#D55E00", (0, (1, 1.5)), 1.6)
#: For more of one kind.
SPARE = (
    _line("#009E73", (0, (5, 1.5, 1, 1.5)), 1.6),
    _marks("#CC79A7", "x", "+"),
    _line("#E69F00", (0, (2.5, 1)), 1.6),
    _marks("#56B4E9", "^", "v"),
)


def looks(own: Sequence[Look]) -> list[Look]:
    """A look for each compared thing: its own, or the next spare one if that is taken."""
    chosen: list[Look] = []
    for look in own:
        free = [candidate for candidate in (look, *SPARE) if candidate not in chosen]
        chosen.append(free[0] if free else SPARE[len(chosen) % len(SPARE)])
    return chosen


def numbered(labels: Sequence[str]) -> list[str]:
    """The labels, those that occur more than once with a number."""
    return [
        f"{label} ({labels[:i].count(label) + 1})" if labels.count(label) > 1 else label
        for i, label in enumerate(labels)
    ]


def axes_of(ax: "Axes | None", caller: str) -> "Axes":
    """The Axes to draw on: the given one, or that of a new figure.

    Raises:
        ValueError: if `ax` is something else.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(layout="constrained")
        return ax
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise ValueError(f"{caller}: ax must be a matplotlib Axes, such as plt.subplots()[1], got {ax!r}.")
    return ax


def row_of_axes(ax: "Sequence[Axes] | None", n: int, caller: str) -> "list[Axes]":
    """As many Axes to draw on: the given ones, or a row of a new figure.

    Raises:
        ValueError: if `ax` is something else.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        _, panels = plt.subplots(1, n, figsize=(4.4 * n, 4.3), layout="constrained", squeeze=False)
        return panels[0].tolist()
    panels = [axes_of(panel, caller) for panel in ax]
    if len(panels) != n:
        raise ValueError(f"{caller}: ax must be {n} Axes, such as plt.subplots(1, {n})[1], got {len(panels)}.")
    return panels


def symbol(name: str) -> str:
    """An overlap's or vector's name in mathematical type: "zm" becomes sigma with index zm, "u1" u with index 1."""
    parts = re.findall(r"([muvz])(\d*)", name)
    written = " ".join(f"{letter}_{{{number}}}" if number else letter for letter, number in parts)
    return f"${written}$" if len(parts) == 1 else rf"$\sigma_{{{written}}}$"


def legend_above(ax: "Axes", handles: Sequence[Any] | None = None, **settings: Any) -> None:
    """A legend in rows above the Axes, where no data are."""
    handles = ax.get_legend_handles_labels()[0] if handles is None else handles
    settings = {
        "ncols": {1: 1, 2: 2, 4: 2}.get(len(handles), 3),
        "columnspacing": 1.0,
        "handlelength": 1.7,
        "handletextpad": 0.6,
    } | settings
    ax.legend(
        handles=list(handles),
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        frameon=False,
        fontsize=FONT_SIZE,
        **settings,
    )


def label_ends(ax: "Axes", ends: Sequence[tuple[float, float]], texts: Sequence[str], colours: Sequence[str]) -> None:
    """Name curves at their ends, right of the Axes, moved apart where they would overlap.

    Args:
        ax: the Axes, with all its data drawn.
        ends: the last point of each curve.
        texts: the names.
        colours: the colours.
    """
    # The transformations depend on the limits, which matplotlib else computes when it draws.
    ax.autoscale_view()
    to_axes = ax.transData + ax.transAxes.inverted()
    wanted = np.clip(to_axes.transform(np.asarray(ends, dtype=float))[:, 1], 0.0, 1.0)
    line_height = 1.45 * FONT_SIZE * ax.figure.dpi / 72 / ax.get_window_extent().height
    for (x, y), height, text, colour in zip(ends, spread(wanted, line_height), texts, colours, strict=True):
        ax.annotate(
            text, xy=(x, y), xycoords="data", xytext=(1.05, height), textcoords="axes fraction", color=colour,
            fontsize=FONT_SIZE + 1, va="center", ha="left", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip


def spread(wanted: np.ndarray, gap: float) -> np.ndarray:
    """Heights in [0, 1] nearest to the wanted ones (least squares) of which no two are closer than `gap`.

    With `gap` times the rank taken off, the heights need only not decrease: isotonic regression, whose solution between
    bounds is the free one, clipped. If more are wanted than fit, they are evenly spaced.
    """
    n = len(wanted)
    gap = min(gap, 1 / max(1, n - 1))
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(n)
    result = np.empty(n)
    result[order] = np.clip(isotonic_regression(wanted[order] - steps).x, 0.0, 1.0 - (n - 1) * gap) + steps
    return result
