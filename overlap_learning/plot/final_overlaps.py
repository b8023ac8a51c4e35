"""The overlaps at the end of learning."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from overlap_learning.learning.solution import Solution
from overlap_learning.model.network import AbstractNetwork
from overlap_learning.plot.curves import curves
from overlap_learning.plot.overlaps import MOST_NAMED
from overlap_learning.plot.style import FONT_SIZE, axes_of, legend_above, symbol

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def final_overlaps(*solutions: Solution, labels: Sequence[str] | None = None, ax: "Axes | None" = None) -> "Axes":
    """The overlaps at the end of learning, visible ones first: full N as circles, others as marks inside them.

    Args:
        *solutions: one or more `Solution` of one layout.
        labels: their names; None: "theory", "full N = ...", "direct descent".
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if an argument is of another kind, or a solution is a batch.

    Source: Ger & Barak 2026, Fig. 5.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> solution = ol.integrate(model, ol.tasks.exponential_filter(), start, ol.GradientDescent(5e-3, 20))
        >>> len(ol.plot.final_overlaps(solution).get_xticklabels())
        10
    """
    compared = curves(solutions, labels, "final_overlaps")
    ax = axes_of(ax, "final_overlaps")
    model = compared[0].solution.model
    names = (*model.visible_names, *model.invisible_names)
    marks = iter(("+", "x", "1", "2", "3", "4"))
    for curve in compared:
        entries = curve.solution.overlaps.entries()
        values = [float(entries[name][curve.end]) for name in names]
        if isinstance(curve.solution.final, AbstractNetwork):
            settings = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.3}
        else:
            settings = {"marker": next(marks, "."), "markersize": 7, "markeredgewidth": 1.6}
        ax.plot(range(len(names)), values, linestyle="none", color=curve.look.colour, label=curve.label, **settings)
    is_crowded = len(names) > MOST_NAMED
    turned: dict[str, Any] = {"rotation": 90, "fontsize": FONT_SIZE - 2} if is_crowded else {}
    ax.set_xticks(range(len(names)), [symbol(name) for name in names], **turned)
    ax.set_ylabel("overlap at the end of learning")
    ax.set_xlim(-0.6, len(names) - 0.4)
    n_visible = len(model.visible_names)
    ax.axvline(n_visible - 0.5, color="0.7", linewidth=0.8, zorder=0)
    for kind, centre in (("visible", (n_visible - 1) / 2), ("invisible", (n_visible + len(names) - 1) / 2)):
        # Below the tick labels, where no data are.
        ax.annotate(
            kind, (centre, 0), (0, -34 if is_crowded else -22), xycoords=ax.get_xaxis_transform(),
            textcoords="offset points", ha="center", va="top", color="0.3", fontsize=FONT_SIZE,
        )  # fmt: skip
    legend_above(ax)
    return ax
