"""The states of a fitted network in three directions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.fitting.result import Fit
from overlap_learning.plot.groups import Groups
from overlap_learning.plot.space import axes_in_space, chosen_components, courses

if TYPE_CHECKING:
    from mpl_toolkits.mplot3d import Axes3D


def latent_trajectories(fit: Fit, components: Sequence[int] = (1, 2, 3), *, ax: "Axes3D | None" = None) -> "Axes3D":
    """The state along three columns through a trial: the mean of each condition in each epoch, and its shadow.

    A dot is where a course begins.

    Args:
        fit: an `ol.fitting.Fit` of rank 3 or more.
        components: the numbers of three components, from 1.
        ax: three-dimensional Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if there are no such components.

    Source: the projections in space of Pellegrino et al. 2023.
    """
    ax = axes_in_space(ax, "latent_trajectories")
    places = chosen_components(components, 3, fit.rank, "latent_trajectories")
    groups = Groups(fit.network.conditions, fit.condition_names, fit.epochs)
    points = np.asarray(fit.network.projections())[..., places]
    courses(ax, points, groups, [f"along column {place + 1}" for place in places])
    return ax
