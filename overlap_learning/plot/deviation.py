"""How far solutions are from a reference, through learning."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.learning.solution import Solution
from overlap_learning.plot.curves import curves, label_learning_time
from overlap_learning.plot.style import axes_of, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def deviation(
    reference: Solution, *solutions: Solution, labels: Sequence[str] | None = None, ax: "Axes | None" = None
) -> "Axes":
    """The largest deviation of any overlap from a reference at each saved point after the start that both reached.

    Args:
        reference: the `Solution` to compare with, such as full N.
        *solutions: one or more `Solution` with the same saved points.
        labels: the names, first the reference's; None: "theory", "full N = ...", "direct descent".
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if an argument is of another kind, a solution is a batch, or no saved points agree.

    Source: Ger & Barak 2026, Figs. 1, 5.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> task = ol.tasks.exponential_filter()
        >>> theory = ol.integrate(model, task, start, ol.GradientDescent(5e-3, 20))
        >>> direct = ol.integrate(model, task, start, ol.DirectDescent(5e-3, 20))
        >>> ol.plot.deviation(theory, direct).get_yscale()
        'log'
    """
    if not solutions:
        raise ValueError(
            "deviation: pass a reference and one or more solutions, such as ol.plot.deviation(full, theory)."
        )
    first, *compared = curves((reference, *solutions), labels, "deviation")
    ax = axes_of(ax, "deviation")
    for curve in compared:
        values = largest_deviation(reference, curve.solution)
        # A logarithmic axis has no place for no deviation at all.
        values = np.where(values > 0, values, np.nan)
        settings = curve.look.settings(len(values) - 1)
        ax.plot(curve.time[1 : len(values)], values[1:], color=curve.look.colour, label=curve.label, **settings)
    ax.set(yscale="log", ylabel=f"largest overlap deviation\nfrom {first.label}")
    label_learning_time(ax, compared)
    legend_above(ax)
    return ax


def largest_deviation(reference: Solution, solution: Solution) -> np.ndarray:
    """The largest deviation of any overlap at each saved point that both reached, shape [at most S].

    Raises:
        ValueError: if no point after the start is the same in both.
    """
    n = min(len(reference.time), len(solution.time))
    same = np.isclose(np.asarray(reference.time)[:n], np.asarray(solution.time)[:n], rtol=1e-6)
    n_same = int(np.argmin(same)) if not same.all() else n
    if n_same < 2:
        raise ValueError(
            "deviation: solutions must have the same saved points; run them with the same rate and save_every."
        )
    return np.abs(np.asarray(solution.overlaps.gram)[:n_same] - np.asarray(reference.overlaps.gram)[:n_same]).max(
        axis=(1, 2)
    )
