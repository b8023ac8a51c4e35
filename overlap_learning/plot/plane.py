"""Plane: a flow in two coordinates, and the points at which it stands still."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from overlap_learning.plot.style import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Arrows along each axis.
N_ARROWS = 17
Limits = tuple[tuple[float, float], tuple[float, float]]


def grid_of(limits: Limits, n: int = N_ARROWS) -> np.ndarray:
    """Points of a grid over both limits, shape [n, n, 2]."""
    return np.stack(np.meshgrid(*(np.linspace(*limit, n) for limit in limits)), axis=-1)


def checked_limits(limits: Any, caller: str) -> Limits:
    """Two limits, each from low to high.

    Raises:
        ValueError: if they are something else.
    """
    values = np.asarray(limits, dtype=float)
    if values.shape != (2, 2) or not np.all(np.isfinite(values)) or np.any(values[:, 0] >= values[:, 1]):
        raise ValueError(f"{caller}: limits must be ((low, high), (low, high)) of the two axes, got {limits!r}.")
    (a, b), (c, d) = values.tolist()
    return (a, b), (c, d)


def draw_flow(ax: "Axes", points: np.ndarray, flow: np.ndarray) -> None:
    """Arrows of one length along a flow, darker where it is faster, on square Axes.

    Args:
        ax: the Axes.
        points: a grid, shape [n, n, 2]; its ends become the limits of the Axes.
        flow: there, of the same shape; NaN where there is none.
    """
    (left, low), (right, high) = points[0, 0], points[-1, -1]
    along = flow / (right - left, high - low)
    length = np.linalg.norm(along, axis=-1)
    speed = np.linalg.norm(flow, axis=-1)
    unit = along / np.where(length > 0, length, 1)[..., None]
    known = np.isfinite(speed)
    if known.any():
        drawn = ax.quiver(
            *points[known].T, *unit[known].T, speed[known], cmap="Greys", pivot="mid", scale=1.3 * len(points),
            width=0.004,
        )  # fmt: skip
        # The slowest arrows are still seen.
        drawn.set_clim(-0.3 * speed[known].max(), speed[known].max() or 1.0)
    ax.set(xlim=(left, right), ylim=(low, high))
    ax.set_box_aspect(1)


def draw_fixed_points(ax: "Axes", points: np.ndarray, growth: Sequence[float] | np.ndarray) -> None:
    """Full dots where a flow stands still and everything decays, white ones where something grows.

    Args:
        ax: the Axes.
        points: shape [points, 2].
        growth: the largest real part of the eigenvalues of each; one that is 0 to some digits is neither.
    """
    growth, rounding = np.asarray(growth), 1e-6
    kinds = ((growth < -rounding, COLOURS[1], "stable"), (growth > rounding, "white", "unstable"),
             (np.abs(growth) <= rounding, "0.7", "marginal"))  # fmt: skip
    for chosen, face, name in kinds:
        if chosen.any():
            ax.plot(
                *points[chosen].T, marker="o", color=COLOURS[1], markerfacecolor=face, linestyle="none",
                label=f"{name} fixed point", zorder=3,
            )  # fmt: skip
