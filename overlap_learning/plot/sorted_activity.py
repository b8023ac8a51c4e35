"""Activity of all neurons, sorted by when they are most active."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from overlap_learning.plot.style import axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def sorted_activity(
    activity: ArrayLike, times: ArrayLike, *, order_of: ArrayLike | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Activity of one trial (or a mean of several), each neuron between 0 and 1, in the order of its peak.

    Args:
        activity: shape [T, N].
        times: shape [T].
        order_of: the activity that gives the order and the scale, shape [T, N], such as data for a prediction; None:
            the activity itself.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if shapes do not fit.

    Examples:
        >>> activity = np.random.default_rng(0).normal(size=(20, 8))
        >>> ol.plot.sorted_activity(activity, np.arange(20)).get_ylabel()
        'neuron, by its peak'
    """
    ax = axes_of(ax, "sorted_activity")
    values, times = np.asarray(activity, float), np.asarray(times, float)
    ordering = values if order_of is None else np.asarray(order_of, float)
    if values.ndim != 2 or values.shape != ordering.shape or times.shape != values.shape[:1]:
        raise ValueError(
            f"sorted_activity: activity and order_of must have shape [T, N] and times [T], got {list(values.shape)}, "
            f"{list(ordering.shape)} and {list(times.shape)}. One trial of recordings: recordings.activity[10]."
        )
    low, high = ordering.min(axis=0), ordering.max(axis=0)
    order = np.argsort(ordering.argmax(axis=0), kind="stable")
    scaled = (values - low) / np.where(high > low, high - low, 1)
    ax.pcolormesh(times, np.arange(len(order)), scaled[:, order].T, cmap="Greys", vmin=0, vmax=1, shading="nearest")
    # Axes that share this axis would turn it back.
    ax.set_ylim(len(order) - 0.5, -0.5)
    ax.set_xlabel("time")
    ax.set_ylabel("neuron, by its peak")
    return ax
