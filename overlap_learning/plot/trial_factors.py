"""Trial factors: how the components of recurrent weights change over trials."""

from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.fitting.result import Fit
from overlap_learning.plot.epochs import shade_epochs
from overlap_learning.plot.style import COLOURS, axes_of, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def trial_factors(fit: Fit, *, ax: "Axes | None" = None) -> "Axes":
    """The trial factors of a fit, each with a band of two standard deviations either side (`Fit.trial_widths`).

    Args:
        fit: an `ol.fitting.Fit`.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Source: the trial factors of Pellegrino et al. 2023, whose band is the noise of the prior.
    """
    ax = axes_of(ax, "trial_factors")
    trials, widths = np.asarray(fit.network.trials), fit.trial_widths
    for r, (factor, width) in enumerate(zip(trials.T, widths.T, strict=True)):
        colour = COLOURS[r % len(COLOURS)]
        ax.fill_between(fit.trial_ids, factor - 2 * width, factor + 2 * width, color=colour, alpha=0.25, linewidth=0)
        ax.plot(fit.trial_ids, factor, color=colour, label=f"component {r + 1}")
    shade_epochs(ax, fit)
    ax.set_xlabel("trial")
    ax.set_ylabel("trial factor")
    legend_above(ax)
    return ax
