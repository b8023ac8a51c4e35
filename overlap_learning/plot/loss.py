"""The loss through learning."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from overlap_learning.learning.solution import Solution
from overlap_learning.plot.courses import draw_courses, is_dataset
from overlap_learning.plot.curves import curves, label_learning_time, name_learning_time
from overlap_learning.plot.style import axes_of, legend_above

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes


def loss(
    *solutions: "Solution | xarray.Dataset", labels: Sequence[str] | None = None, ax: "Axes | None" = None
) -> "Axes":
    """The loss of one or more solutions, or at each point of a dataset, against learning time, on a logarithmic axis.

    Args:
        *solutions: one or more `Solution`; or one `xarray.Dataset`, of `ol.sweep` or `Solution.to_xarray`. Its points
            that have no loss at all are counted in the legend; of more than nine curves it names nine.
        labels: their names; None: "theory", "full N = ...", "direct descent"; of a dataset: the labels of the grid.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if an argument is of another kind, a solution is a batch, or a dataset has no loss through learning.

    Source: Ger & Barak 2026, Figs. 1, 4.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> solution = ol.integrate(model, ol.tasks.exponential_filter(), start, ol.GradientDescent(5e-3, 20))
        >>> ol.plot.loss(solution).get_yscale()
        'log'

        Of a sweep:

        >>> task = ol.tasks.exponential_filter()
        >>> def learn(rate):
        ...     return ol.integrate(model, task, start, ol.GradientDescent(rate, 20))
        >>> data = ol.sweep(learn, {"rate": [1e-3, 5e-3]})
        >>> [line.get_label() for line in ol.plot.loss(data).get_lines()]
        ['rate = 0.001', 'rate = 0.005']
    """
    if len(solutions) == 1 and is_dataset(solutions[0]):
        return _of_dataset(cast("xarray.Dataset", solutions[0]), labels, ax)
    compared = curves(cast(Sequence[Solution], solutions), labels, "loss")
    ax = axes_of(ax, "loss")
    for curve in compared:
        ax.plot(
            curve.time, np.asarray(curve.solution.loss), color=curve.look.colour, label=curve.label, **curve.settings()
        )
    ax.set(yscale="log", ylabel="loss")
    label_learning_time(ax, compared)
    legend_above(ax)
    return ax


def _of_dataset(data: "xarray.Dataset", labels: Sequence[str] | None, ax: "Axes | None") -> "Axes":
    ax = draw_courses(ax, data, "loss", labels, "loss")
    ax.set(yscale="log", ylabel="loss")
    # Without times, saved points are counted.
    if "time" in data.variables:
        # The learning time of an optimiser of unknown rate is its number of steps.
        name_learning_time(ax, in_steps="step" in data and bool((data.step == data.time).all()))
    else:
        ax.set_xlabel("saved points")
    return ax
