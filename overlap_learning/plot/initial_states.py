"""Where trials begin to run by themselves, through learning."""

from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.fitting.result import Fit
from overlap_learning.plot.groups import MARKERS, Groups
from overlap_learning.plot.style import axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def initial_states(fit: Fit, at: float | None = None, *, ax: "Axes | None" = None) -> "Axes":
    """The state of every trial at one time, along the first two principal components of these states.

    Colours are conditions, marks are epochs. The first states of a fit are those of a condition; what weights do with
    them and with inputs before `at` differs from trial to trial.

    Args:
        fit: an `ol.fitting.Fit`.
        at: a time; the recorded one next to it is drawn. None: the first one at which no input acts and that is not
            negative; if there is none, the first that is not negative.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if the time is outside the trial.

    Source: the initial states of Pellegrino et al. 2023.
    """
    ax = axes_of(ax, "initial_states")
    times = np.asarray(fit.network.times)
    if at is None:
        begun = times >= min(0, times[-1])
        alone = begun & ~fit.inputs.acting(times)
        place = int(np.argmax(alone if alone.any() else begun))
    elif times[0] <= at <= times[-1]:
        place = int(np.abs(times - at).argmin())
    else:
        raise ValueError(f"initial_states: at must be a time from {times[0]:g} to {times[-1]:g}, got {at!r}.")
    # In an orthonormal frame of the span of all columns, whose angles are those of the units.
    frame = np.linalg.qr(np.asarray(fit.network.directions))[1]
    states = np.asarray(fit.network.states())[:, place] @ frame.T
    away = states - states.mean(axis=0)
    _, sizes, directions = np.linalg.svd(away, full_matrices=False)
    shares = np.square(sizes) / np.sum(np.square(sizes))
    points = np.pad(away @ directions[:2].T, ((0, 0), (0, max(0, 2 - len(directions)))))
    groups = Groups(fit.network.conditions, fit.condition_names, fit.epochs)
    for group in groups.each:
        ax.plot(
            *points[group.trials].T, color=groups.colour(group.condition), marker=MARKERS[group.epoch % len(MARKERS)],
            linestyle="none", markersize=4, markerfacecolor="none",
        )  # fmt: skip
    for name, axis in (("x", 0), ("y", 1)):
        share = f" ({100 * shares[axis]:.2g} %)" if axis < len(shares) else ""
        ax.set(**{f"{name}label": f"component {axis + 1}{share} of the states at {times[place]:.2g}"})
    groups.legend(ax, marked=True)
    return ax
