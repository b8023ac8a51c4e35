"""Space: three-dimensional Axes, and courses of groups of trials in them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from overlap_learning.checks import count
from overlap_learning.plot.groups import LINES, Groups

if TYPE_CHECKING:
    from mpl_toolkits.mplot3d import Axes3D


def axes_in_space(ax: "Axes3D | None", caller: str) -> "Axes3D":
    """The three-dimensional Axes to draw on: the given one, or that of a new figure.

    Raises:
        ValueError: if `ax` is something else.
    """
    from mpl_toolkits.mplot3d import Axes3D

    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure(layout="constrained").add_subplot(projection="3d")  # pyright: ignore[reportAssignmentType]
    if not isinstance(ax, Axes3D):
        raise ValueError(
            f"{caller}: ax must be three-dimensional, such as plt.figure().add_subplot(projection='3d'), got {ax!r}."
        )
    return ax


def chosen_components(components: Sequence[int], n: int, rank: int, caller: str) -> list[int]:
    """Places of components, counted from 0, of their numbers from 1.

    Raises:
        ValueError: if there are not n different ones, or not that many.
    """
    if rank < n:
        raise ValueError(f"{caller}: needs a fit of at least {n} components, got one of rank {rank}.")
    numbers = [count(number, f"{caller}: components", most=rank) for number in components]
    if len(set(numbers)) != n or len(numbers) != n:
        raise ValueError(f"{caller}: components must be {n} different numbers from 1 to {rank}, got {components!r}.")
    return [number - 1 for number in numbers]


def courses(ax: "Axes3D", points: np.ndarray, groups: Groups, labels: Sequence[str]) -> None:
    """The mean course of each group of trials, with a dot where it begins and a shadow on the floor.

    Args:
        ax: three-dimensional Axes.
        points: shape [K, T, 3].
        groups: of the trials.
        labels: of the axes.
    """
    means = [points[group.trials].mean(axis=0) for group in groups.each]
    low, high = (float(f([f(mean[:, 2]) for mean in means])) for f in (np.min, np.max))
    floor = low - 0.25 * (high - low)
    for group, mean in zip(groups.each, means, strict=True):
        look: dict[str, Any] = {"linestyle": LINES[group.epoch % len(LINES)], "linewidth": 1.3}
        ax.plot(mean[:, 0], mean[:, 1], np.full(len(mean), floor), color="0.85", zorder=0, **look)
        ax.plot(*mean.T, color=groups.colour(group.condition), **look)
        ax.plot(*mean[:1].T, color=groups.colour(group.condition), marker="o", markersize=3)
    name_axes(ax, labels)
    groups.legend(ax)


def name_axes(ax: "Axes3D", labels: Sequence[str]) -> None:
    """Label three axes, whose few ticks do not touch."""
    from matplotlib.ticker import MaxNLocator

    ax.set(xlabel=labels[0], ylabel=labels[1], zlabel=labels[2])
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_major_locator(MaxNLocator(3))
    # The layout does not know of labels in space.
    ax.set_box_aspect(None, zoom=0.9)  # pyright: ignore[reportArgumentType]
