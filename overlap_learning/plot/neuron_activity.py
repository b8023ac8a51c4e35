"""One recorded neuron over time, beside its fit."""

from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.checks import count
from overlap_learning.fitting.recordings import Recordings, check_recordings
from overlap_learning.fitting.result import Fit
from overlap_learning.plot.groups import Groups
from overlap_learning.plot.style import axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def neuron_activity(
    recordings: Recordings, neuron: int = 0, *, fit: Fit | None = None, ax: "Axes | None" = None
) -> "Axes":
    """The activity of a neuron, dots, and its fit, lines: the mean over the trials of each condition, by colour.

    Args:
        recordings: `ol.fitting.Recordings`.
        neuron: its number, from 0.
        fit: of these recordings; None: activity alone, with lines.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if there is no such neuron, or the fit is of other recordings.

    Source: the activity of neurons of Pellegrino et al. 2023.
    """
    check_recordings(recordings, "neuron_activity")
    ax = axes_of(ax, "neuron_activity")
    neuron = count(neuron, "neuron_activity: neuron", least=0, most=recordings.n_neurons - 1)
    if fit is not None and fit.predictions.shape != recordings.activity.shape:
        raise ValueError(
            f"neuron_activity: fit must be of these recordings, of shape {list(recordings.activity.shape)}, got one of "
            f"{list(fit.predictions.shape)}."
        )
    values = np.where(recordings.mask[..., neuron], recordings.activity[..., neuron], np.nan)
    predicted = None if fit is None else fit.predictions[..., neuron]
    groups = Groups(recordings.conditions, recordings.condition_names, None)
    for group in groups.each:
        colour, chosen = groups.colour(group.condition), values[group.trials]
        seen = np.isfinite(chosen).sum(axis=0)
        mean = np.where(seen > 0, np.nansum(chosen, axis=0) / np.maximum(seen, 1), np.nan)
        ax.plot(recordings.times, mean, color=colour, **({} if fit is None else {"marker": "o", "linestyle": "none",
                "markersize": 3}))  # fmt: skip
        if predicted is not None:
            # Of the trials in which it was recorded at that time.
            both = np.where(np.isfinite(chosen), predicted[group.trials], 0).sum(axis=0) / np.maximum(seen, 1)
            ax.plot(recordings.times, np.where(seen > 0, both, np.nan), color=colour)
    ax.set_xlabel("time")
    ax.set_ylabel(f"activity of neuron {neuron}")
    groups.legend(ax)
    return ax
