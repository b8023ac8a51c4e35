"""The flow of a fitted network in a plane."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from overlap_learning.fitting.result import Fit
from overlap_learning.plot.space import chosen_components
from overlap_learning.plot.style import COLOURS, axes_of, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Arrows along each axis.
N_ARROWS = 17


def vector_field(
    fit: Fit,
    trial: float | None = None,
    components: Sequence[int] = (1, 2),
    *,
    arrows: bool = True,
    ax: "Axes | None" = None,
) -> "Axes":
    """The flow dx/dt of the network of one trial without inputs, in the plane of two columns, with its fixed points.

    The axes are orthonormal: along the first column, and along what the second has beyond it. States are in units of
    one per unit, `x / sqrt(n)`. The flow is that at states within the plane, projected to it; at rank 2 it never leaves
    it. Darker arrows are faster. The course of the trial, from the square on, and the fixed points of the whole network
    are projected too: full dots are stable.

    Args:
        fit: an `ol.fitting.Fit` of rank 2 or more.
        trial: its number (`fit.trial_ids`); None: the first one.
        components: the numbers of two components, from 1.
        arrows: draw the columns a and the rows b of both components, as arrows of one length before projection.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if there is no such trial, or no such components.

    Source: the vector fields of Pellegrino et al. 2023.
    """
    ax = axes_of(ax, "vector_field")
    places = chosen_components(components, 2, fit.rank, "vector_field")
    ids = fit.trial_ids
    place = 0 if trial is None else int(np.abs(ids - trial).argmin())
    if trial is not None and ids[place] != trial:
        raise ValueError(f"vector_field: there is no trial {trial!r}; trials are from {ids[0]:g} to {ids[-1]:g}.")
    network = fit.network
    directions, columns, rows = (np.asarray(a) for a in (network.directions, network.columns, network.rows))
    plane, corner = np.linalg.qr(columns[:, places])
    signs = np.sign(np.diag(corner))
    plane, corner = plane * signs, corner * signs[:, None]
    seen = directions.T @ plane
    course = np.asarray(network.states()[place]) @ seen
    points, stable = network.fixed_points(place)
    points = points @ seen
    span = 1.3 * np.abs(np.concatenate([course, points])).max()
    grid = np.stack(np.meshgrid(*2 * [np.linspace(-span, span, N_ARROWS)]), axis=-1)
    states = np.zeros((*grid.shape[:2], directions.shape[1]))
    states[..., places] = grid @ np.linalg.inv(corner).T
    flow = np.asarray(network.flow(jnp.asarray(states, columns.dtype), 0.0, network.trials[place])) @ seen
    speed = np.linalg.norm(flow, axis=-1)
    unit = flow / np.where(speed > 0, speed, 1)[..., None]
    drawn = ax.quiver(
        grid[..., 0], grid[..., 1], unit[..., 0], unit[..., 1], speed, cmap="Greys", pivot="mid", angles="xy",
        scale=1.3 * N_ARROWS, width=0.004,
    )  # fmt: skip
    # The slowest arrows are still seen.
    drawn.set_clim(-0.3 * speed.max(), speed.max())
    ax.plot(*course.T, color=COLOURS[0], linewidth=1.6, label=f"trial {ids[place]:g}")
    ax.plot(*course[0], color=COLOURS[0], marker="s", markersize=4, linestyle="none")
    for chosen, face, name in ((stable, COLOURS[1], "stable"), (~stable, "white", "unstable")):
        if chosen.any():
            ax.plot(
                *points[chosen].T, marker="o", color=COLOURS[1], markerfacecolor=face, linestyle="none",
                label=f"{name} fixed point",
            )  # fmt: skip
    if arrows:
        for sides, name, colour in ((columns, "a", COLOURS[2]), (rows, "b", COLOURS[3])):
            for tip, place_ in zip(0.7 * span * sides[:, places].T @ plane, places, strict=True):
                ax.annotate("", tip, (0, 0), arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.4})
                ax.annotate(f"${name}_{place_ + 1}$", 1.09 * tip, color=colour, ha="center", va="center")
    ax.set(xlim=(-span, span), ylim=(-span, span), aspect="equal")
    first, second = (place + 1 for place in places)
    ax.set_xlabel(f"state along column {first}")
    ax.set_ylabel(f"state along column {second}, orthogonal to {first}")
    legend_above(ax, ncols=2)
    return ax
