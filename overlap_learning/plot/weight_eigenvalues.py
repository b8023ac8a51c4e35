"""Eigenvalues of fitted recurrent weights."""

from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.fitting.result import Fit
from overlap_learning.plot.style import axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def weight_eigenvalues(fit: Fit, *, ax: "Axes | None" = None) -> "Axes":
    """The eigenvalues of every W^(k) that need not be 0, in the complex plane, coloured by trial.

    Those right of the line at 1 make a state of linear units grow.

    Args:
        fit: an `ol.fitting.Fit`.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Source: the spectrum of Pellegrino et al. 2023.
    """
    ax = axes_of(ax, "weight_eigenvalues")
    values = fit.network.eigenvalues
    trial = np.broadcast_to(np.asarray(fit.trial_ids)[:, None], values.shape)
    points = ax.scatter(np.real(values), np.imag(values), c=trial, s=9, cmap="viridis")
    ax.axvline(1, color="0.7", linewidth=0.8, zorder=0)
    ax.figure.colorbar(points, ax=ax, label="trial")
    ax.set_xlabel("real part")
    ax.set_ylabel("imaginary part")
    return ax
