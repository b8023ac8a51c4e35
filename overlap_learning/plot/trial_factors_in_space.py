"""Three trial factors as one course in space."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.fitting.result import Fit
from overlap_learning.plot.space import axes_in_space, chosen_components, name_axes

if TYPE_CHECKING:
    from mpl_toolkits.mplot3d import Axes3D


def trial_factors_in_space(fit: Fit, components: Sequence[int] = (1, 2, 3), *, ax: "Axes3D | None" = None) -> "Axes3D":
    """Three trial factors through learning, a dot for each trial, coloured by trial.

    Args:
        fit: an `ol.fitting.Fit` of rank 3 or more.
        components: the numbers of three components, from 1.
        ax: three-dimensional Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if there are no such components.

    Source: the trial factors in space of Pellegrino et al. 2023.
    """
    ax = axes_in_space(ax, "trial_factors_in_space")
    places = chosen_components(components, 3, fit.rank, "trial_factors_in_space")
    points = np.asarray(fit.network.trials)[:, places]
    ax.plot(*points.T, color="0.8", linewidth=0.8)
    dots = ax.scatter(*points.T, c=fit.trial_ids, s=10, cmap="viridis", depthshade=False)
    ax.figure.colorbar(dots, ax=ax, label="trial", shrink=0.6, location="left")
    name_axes(ax, [f"trial factor {place + 1}" for place in places])
    return ax
