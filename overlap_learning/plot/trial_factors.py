"""Trial factors: how the components of recurrent weights change over trials."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from overlap_learning.fitting.result import Fit
from overlap_learning.plot.epochs import shade_epochs
from overlap_learning.plot.style import COLOURS, axes_of, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def trial_factors(fit: Fit, *, widths: ArrayLike | None = None, ax: "Axes | None" = None) -> "Axes":
    """The trial factors of a fit, each with a band of two widths either side.

    Args:
        fit: an `ol.fitting.Fit`.
        widths: of each trial factor, shape [K, R], such as `fit.bootstrap(key).trial_widths`; None: `fit.trial_widths`,
            a lower bound.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if widths have another shape.

    Source: the trial factors of Pellegrino et al. 2023, whose band is the noise of the prior.
    """
    ax = axes_of(ax, "trial_factors")
    trials, bands = np.asarray(fit.network.trials), np.asarray(fit.trial_widths if widths is None else widths)
    if bands.shape != trials.shape:
        raise ValueError(f"trial_factors: widths must have shape {list(trials.shape)}, got {list(bands.shape)}.")
    for r, (factor, width) in enumerate(zip(trials.T, bands.T, strict=True)):
        colour = COLOURS[r % len(COLOURS)]
        ax.fill_between(fit.trial_ids, factor - 2 * width, factor + 2 * width, color=colour, alpha=0.25, linewidth=0)
        ax.plot(fit.trial_ids, factor, color=colour, label=f"component {r + 1}")
    shade_epochs(ax, fit)
    ax.set_xlabel("trial")
    ax.set_ylabel("trial factor")
    legend_above(ax)
    return ax
