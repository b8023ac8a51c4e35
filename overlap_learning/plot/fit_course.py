"""The course of a fit."""

from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.fitting.recordings import Recordings
from overlap_learning.fitting.result import Fit
from overlap_learning.plot.style import COLOURS, axes_of, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def fit_course(fit: Fit, *, recordings: Recordings | None = None, ax: "Axes | None" = None) -> "Axes":
    """The mean deviance through a fit, where it trains and where it stops; the best start is drawn strongly.

    A dot marks what is reported of the best start, at the point that it returned.

    Args:
        fit: an `ol.fitting.Fit`.
        recordings: if given, what as many principal components as the fit has rank leave of their activity is a dashed
            line: the squared error of a network whose states no dynamics bind. Bins with a neuron missing do not count.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: for counts, whose deviance is no squared error.
    """
    ax = axes_of(ax, "fit_course")
    if recordings is not None:
        if recordings.are_counts:
            raise ValueError("fit_course: recordings are counts, whose deviance is no squared error; leave them out.")
        whole = np.asarray(recordings.activity)[np.asarray(recordings.mask).all(axis=-1)]
        left = np.linalg.svd(whole - whole.mean(axis=0), compute_uv=False)[fit.rank :]
        label = f"{fit.rank} principal components"
        ax.axhline(float(np.sum(left**2) / whole.size), color="0.5", linestyle="--", linewidth=0.9, label=label)
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
