"""What a network does with a trial."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.model.activity import rollout, simulate
from overlap_learning.model.model import Model
from overlap_learning.model.network import AbstractNetwork
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.style import COLOURS, FULL, THEORY, axes_of, legend_above, looks, numbered
from overlap_learning.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def output(
    model: Model,
    task: Task,
    *networks: Overlaps | AbstractNetwork,
    labels: Sequence[str] | None = None,
    trial: int = 0,
    ax: "Axes | None" = None,
) -> "Axes":
    """The output of networks through one trial, and its target; grey where readings do not count in the loss.

    Args:
        model: the `Model`.
        task: the `Task`.
        *networks: what to run on it: `Overlaps` (the reduced activity) or a `Network` (every neuron).
        labels: their names; None: "theory" or "full N = ...".
        trial: which trial.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if an argument is of another kind, or there is no such trial.

    Source: Ger & Barak 2026, Figs. 1, 4.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> task = ol.tasks.exponential_filter()
        >>> learned = ol.Overlaps.from_entries(model.layout, zm=1.0, zu=0.8, vm=1.0, vu=0.8, vv=4.0, zz=4.0, uu=2.0)
        >>> ol.plot.output(model, task, learned).get_xlabel()
        'time (neuronal time constants)'
    """
    labels = check_networks(task, networks, labels, "output")
    if not 0 <= trial < task.n_trials:
        raise ValueError(f"output: trial must be from 0 to {task.n_trials - 1}, got {trial}.")
    ax = axes_of(ax, "output")
    times = np.asarray(task.times)
    targets = np.asarray(task.targets)[trial]
    _shade_uncounted(ax, times, np.asarray(task.weights)[trial])
    channels = range(targets.shape[-1])
    for channel in channels:
        which = f" {channel + 1}" if len(channels) > 1 else ""
        ax.plot(
            times,
            targets[:, channel],
            color="0.55",
            linewidth=3.5,
            solid_capstyle="butt",
            label=f"target{which}",
            zorder=1.5,
        )
    chosen = looks(
        [FULL if isinstance(network, AbstractNetwork) and len(networks) > 1 else THEORY for network in networks]
    )
    for network, label, look in zip(networks, labels, chosen, strict=True):
        values = outputs_of(model, network, task)
        for channel in channels:
            which = f" {channel + 1}" if len(channels) > 1 else ""
            # With several channels colour tells them apart, and the kind of line or mark the networks.
            colour = COLOURS[channel % len(COLOURS)] if len(channels) > 1 else look.colour
            settings = look.settings(len(times))
            ax.plot(times, values[trial, :, channel], color=colour, label=f"{label}{which}", **settings)
    ax.set(xlabel="time (neuronal time constants)", ylabel="output y")
    ax.margins(x=0.02)
    legend_above(ax)
    return ax


def outputs_of(model: Model, network: Overlaps | AbstractNetwork, task: Task) -> np.ndarray:
    """What a network does on all trials, shape [B, T, n_out]."""
    run = simulate if isinstance(network, AbstractNetwork) else rollout
    return np.asarray(run(model, network, task))  # pyright: ignore[reportArgumentType]


def check_networks(
    task: Task, networks: Sequence[Overlaps | AbstractNetwork], labels: Sequence[str] | None, caller: str
) -> Sequence[str]:
    """The labels of the networks that a picture shows on a task.

    Raises:
        ValueError: if an argument is of another kind, or labels do not fit.
    """
    if not isinstance(task, Task):
        raise ValueError(
            f"{caller}: task must be an ol.Task, got {type(task).__name__}; from a stream, take stream.sample(key)."
        )
    if not networks or not all(isinstance(network, (Overlaps, AbstractNetwork)) for network in networks):
        kinds = ", ".join(type(network).__name__ for network in networks) or "none"
        raise ValueError(f"{caller}: pass one or more networks, ol.Overlaps or ol.Network, got {kinds}.")
    if labels is None:
        return numbered([f"full N = {n.n_neurons:,}" if isinstance(n, AbstractNetwork) else "theory" for n in networks])
    if isinstance(labels, str) or len(labels) != len(networks):
        raise ValueError(f"{caller}: labels must be {len(networks)} names, one for each network, got {labels!r}.")
    return labels


def _shade_uncounted(ax: "Axes", times: np.ndarray, weights: np.ndarray) -> None:
    """Grey bands over readings of weight 0; a single one, as the reading before an impulse, is not worth a band."""
    uncounted = np.all(weights == 0, axis=-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], uncounted, [False]]).astype(int)))
    bands = [(first, last) for first, last in edges.reshape(-1, 2) if last - first > 1]
    # A band reaches half a step beyond its readings; two of them there are.
    half = (times[1] - times[0]) / 2 if bands else 0.0
    for i, (first, last) in enumerate(bands):
        label = "not in the loss" if i == 0 else "_not in the loss"
        ax.axvspan(
            float(times[first] - half), float(times[last - 1] + half), color="0.92", linewidth=0, label=label, zorder=0
        )
