"""What a network does with all trials."""

from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.checks import count
from overlap_learning.model.model import Model
from overlap_learning.model.network import AbstractNetwork
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.output import check_networks, outputs_of
from overlap_learning.plot.style import axes_of, legend_above
from overlap_learning.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def trials(
    model: Model,
    task: Task,
    network: Overlaps | AbstractNetwork,
    *,
    channel: int = 1,
    ax: "Axes | None" = None,
) -> "Axes":
    """The output of a network through every trial, over the targets, each in a colour of its own.

    Targets are wide and pale, where readings count in the loss. Colours are in the order of the mean target, so that
    trials of one kind look alike.

    Args:
        model: the `Model`.
        task: the `Task`.
        network: what to run on it: `Overlaps` (the reduced activity) or a `Network` (every neuron).
        channel: which output, from 1.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if an argument is of another kind, or there is no such output.

    Source: Ger & Barak 2026, Fig. 4.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> task = ol.tasks.exponential_filter()
        >>> learned = ol.Overlaps.from_entries(model.layout, zm=1.0, zu=0.8, vm=1.0, vu=0.8, vv=4.0, zz=4.0, uu=2.0)
        >>> ol.plot.trials(model, task, learned).get_ylabel()
        'output y, 1 trial'
    """
    import matplotlib as mpl

    check_networks(task, [network], None, "trials")
    ax = axes_of(ax, "trials")
    place = count(channel, "trials: channel", most=task.targets.shape[-1]) - 1
    times = np.asarray(task.times)
    targets, weights = (np.asarray(a)[..., place] for a in (task.targets, task.weights))
    outputs = outputs_of(model, network, task)[..., place]
    targets = np.where(weights > 0, targets, np.nan)
    # Yellow, the end of this map, is faint on white paper.
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(targets)))
    for i, colour in zip(_order(targets), colours, strict=True):
        ax.plot(times, targets[i], color=colour, linewidth=5.0, alpha=0.25, solid_capstyle="butt", label="_target")
        ax.plot(times, outputs[i], color=colour, linewidth=1.2, label="_output")
    for width, alpha, label in ((5.0, 0.35, "target"), (1.2, 1.0, "output")):
        ax.plot([], [], color="0.3", linewidth=width, alpha=alpha, solid_capstyle="butt", label=label)
    which = f" {channel}" if task.targets.shape[-1] > 1 else ""
    n = f"{len(targets):,} trial{'s' * (len(targets) > 1)}"
    ax.set(xlabel="time (neuronal time constants)", ylabel=f"output y{which}, {n}")
    ax.margins(x=0.02)
    legend_above(ax)
    return ax


def _order(targets: np.ndarray) -> np.ndarray:
    """Trials by their mean target; those without any come first."""
    known = np.isfinite(targets)
    return np.argsort(np.where(known, targets, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1), kind="stable")
