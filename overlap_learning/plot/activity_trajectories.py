"""Recorded activity in the directions in which it changes most."""

from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.fitting.recordings import Recordings, check_recordings
from overlap_learning.plot.groups import Groups
from overlap_learning.plot.space import axes_in_space, courses

if TYPE_CHECKING:
    from mpl_toolkits.mplot3d import Axes3D


def activity_trajectories(recordings: Recordings, *, ax: "Axes3D | None" = None) -> "Axes3D":
    """Activity along its first three principal components: the mean of each condition in each epoch, and its shadow.

    A dot is where a course begins. Entries that were not recorded count as the mean of their neuron.

    Args:
        recordings: `ol.fitting.Recordings` of at least three neurons.
        ax: three-dimensional Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if there are fewer neurons.

    Source: the principal components of the data in Pellegrino et al. 2023.
    """
    caller = "activity_trajectories"
    check_recordings(recordings, caller)
    ax = axes_in_space(ax, caller)
    if recordings.n_neurons < 3:
        raise ValueError(f"{caller}: needs at least 3 neurons, got {recordings.n_neurons}.")
    mean = recordings.activity.sum(axis=(0, 1)) / recordings.mask.sum(axis=(0, 1))
    away = np.where(recordings.mask, recordings.activity - mean, 0)
    flat = away.reshape(-1, away.shape[2])
    squares, directions = np.linalg.eigh(flat.T @ flat)
    shares = 100 * squares[:-4:-1] / squares.sum()
    groups = Groups(recordings.conditions, recordings.condition_names, recordings.epochs)
    labels = [f"PC {i + 1} ({share:.2g} %)" for i, share in enumerate(shares)]
    courses(ax, away @ directions[:, :-4:-1], groups, labels)
    return ax
