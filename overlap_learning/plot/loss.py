"""The loss through learning."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.learning.solution import Solution
from overlap_learning.plot.curves import curves, label_learning_time
from overlap_learning.plot.style import axes_of, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def loss(*solutions: Solution, labels: Sequence[str] | None = None, ax: "Axes | None" = None) -> "Axes":
    """The loss of one or more solutions against learning time, on a logarithmic axis.

    Args:
        *solutions: one or more `Solution`.
        labels: their names; None: "theory", "full N = ...", "direct descent".
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if an argument is of another kind, or a solution is a batch.

    Source: Ger & Barak 2026, Figs. 1, 4.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> solution = ol.integrate(model, ol.tasks.exponential_filter(), start, ol.GradientDescent(5e-3, 20))
        >>> ol.plot.loss(solution).get_yscale()
        'log'
    """
    compared = curves(solutions, labels, "loss")
    ax = axes_of(ax, "loss")
    for curve in compared:
        ax.plot(
            curve.time, np.asarray(curve.solution.loss), color=curve.look.colour, label=curve.label, **curve.settings()
        )
    ax.set(yscale="log", ylabel="loss")
    label_learning_time(ax, compared)
    legend_above(ax)
    return ax
