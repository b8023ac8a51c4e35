"""What drives a fitted network from outside."""

from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.fitting.result import Fit
from overlap_learning.plot.style import COLOURS, axes_of, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def inputs(fit: Fit, condition: str | None = None, *, ax: "Axes | None" = None) -> "Axes":
    """The input to each direction over time, in one condition; it is the same in all trials of it.

    Full lines are directions of columns, dashed ones those beyond their span. The grey area is where inputs act.

    Args:
        fit: an `ol.fitting.Fit`.
        condition: its name; None: the first one.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if there is no such condition.

    Source: the controls of Pellegrino et al. 2023.
    """
    ax = axes_of(ax, "inputs")
    names = fit.condition_names
    name = names[0] if condition is None else condition
    if name not in names:
        raise ValueError(f"inputs: there is no condition {name!r}; there are {names}.")
    times, network = np.asarray(fit.network.times), fit.network
    acting = times[fit.inputs.acting(times)]
    if len(acting):
        ax.axvspan(acting[0], acting[-1], color="0.95", zorder=0)
    for i, course in enumerate(np.asarray(network.inputs)[names.index(name)].T):
        inside = i < network.rank
        ax.plot(
            times, course, color=COLOURS[i % len(COLOURS)], linestyle="-" if inside else "--",
            label=f"along column {i + 1}" if inside else f"beyond {i + 1 - network.rank}",
        )  # fmt: skip
    ax.set_xlabel("time")
    ax.set_ylabel("input" if len(names) == 1 else f"input, condition {name}")
    legend_above(ax)
    return ax
