"""The state of a fitted network along one of its columns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.checks import count
from overlap_learning.fitting.result import Fit
from overlap_learning.plot.style import axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def projections(
    fit: Fit, component: int = 1, *, conditions: Sequence[str] | None = None, ax: "Axes | None" = None
) -> "Axes":
    """The state along the column of one component over time, every trial, coloured by trial.

    Args:
        fit: an `ol.fitting.Fit`.
        component: its number, from 1.
        conditions: the names of those to draw; None: all.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if there is no such component, or no such condition.

    Source: the projections of Pellegrino et al. 2023.
    """
    ax = axes_of(ax, "projections")
    component = count(component, "projections: component", most=fit.rank)
    if unknown := set(conditions or ()) - set(fit.condition_names):
        raise ValueError(f"projections: there is no condition {sorted(unknown)}; there are {fit.condition_names}.")
    wanted = [conditions is None or name in conditions for name in fit.condition_names]
    states, times = np.asarray(fit.network.projections())[..., component - 1], np.asarray(fit.network.times)
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    mapped = ScalarMappable(Normalize(fit.trial_ids[0], fit.trial_ids[-1]), "viridis")
    for state, number, trial in zip(states, np.asarray(fit.network.conditions), fit.trial_ids, strict=True):
        if wanted[number]:
            ax.plot(times, state, color=mapped.to_rgba(trial), linewidth=0.6)
    ax.figure.colorbar(mapped, ax=ax, label="trial")
    ax.set_xlabel("time")
    ax.set_ylabel(f"state along column {component}")
    return ax
