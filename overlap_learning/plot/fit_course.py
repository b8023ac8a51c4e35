"""The course of a fit."""

from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.fitting.result import Fit
from overlap_learning.plot.style import COLOURS, axes_of, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def fit_course(fit: Fit, *, ax: "Axes | None" = None) -> "Axes":
    """The mean deviance through a fit, where it trains and where it stops; the best start is drawn strongly.

    A dot marks what is reported of the best start, at the point that it returned.

    Args:
        fit: an `ol.fitting.Fit`.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.
    """
    ax = axes_of(ax, "fit_course")
    for name, colour in (("train", COLOURS[0]), ("stop", COLOURS[1])):
        for start, values in enumerate(fit.course[name]):
            is_best = start == fit.best
            ax.plot(
                fit.step, values, color=colour, linewidth=1.6 if is_best else 0.8, alpha=1 if is_best else 0.4,
                label=name if is_best else None,
            )  # fmt: skip
    at = fit.step[np.nanargmin(fit.course["stop"][fit.best])]
    ax.plot(at, fit.score, marker="o", linestyle="none", color=COLOURS[2], label="report")
    ax.set_yscale("log")
    ax.set_xlabel("step of the fit")
    ax.set_ylabel("mean deviance per entry")
    legend_above(ax)
    return ax
