"""Learning in the plane of two overlaps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import require_float64
from overlap_learning.dynamics.gradient import gram_loss_gradient
from overlap_learning.learning.solution import Solution
from overlap_learning.model.model import Model, check_model, refuse_ties
from overlap_learning.plot.curves import curves
from overlap_learning.plot.plane import N_ARROWS, checked_limits, draw_flow, grid_of
from overlap_learning.plot.style import COLOURS, FONT_SIZE, axes_of, legend_above, symbol
from overlap_learning.studies.equivalence.region import places_of, with_entries
from overlap_learning.tasks.task import Task, check_task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Points of the loss's grid for each arrow.
_FINER = 4
#: Contours, and the least loss that has one, over the largest: the valley below is narrower than the grid.
_N_CONTOURS, _LEAST = 9, 1e-3


def learning_plane(
    solution: Solution,
    task: Task,
    names: Sequence[str],
    *,
    point: int = -1,
    rates: Any = None,
    limits: Any = None,
    ax: "Axes | None" = None,
) -> "Axes":
    r"""The course of learning in the plane of two overlaps, with the field of learning and contours of the loss in it.

    The course is that of the solution, seen along all other overlaps. Field and contours are those of networks whose
    other overlaps are as at one saved point (the ring): the loss, and the velocity of gradient flow, `dG/dtau = -(G S P
    + P S G)`. So the course follows the arrows at the ring, and elsewhere as far as the others stay as they are. Arrows
    have one length; darker ones are faster. No network has the overlaps of the grey region.

    Args:
        solution: a `Solution`; of a trained network the overlaps are drawn.
        task: the `Task` that was learned.
        names: two overlaps, such as ("zu", "vm").
        point: the saved point whose other overlaps are taken; -1: the last.
        rates: relative learning rates, as in the learning rules.
        limits: ((low, high), (low, high)) of the two overlaps; None: around the course.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes; the contours have a colour bar beside them.

    Raises:
        ValueError: if an argument is of another kind, vectors are tied, or there are no such overlaps or no such point.
        RuntimeError: if jax is not in 64-bit mode.

    Source: Ger & Barak 2026, eq. 9; theory page, eqs. (5), (6).

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> task = ol.tasks.exponential_filter()
        >>> solution = ol.integrate(model, task, start, ol.GradientDescent(5e-3, 20))
        >>> ol.plot.learning_plane(solution, task, ("zu", "vm")).get_xlabel()
        'overlap $\\sigma_{z u}$'
    """
    require_float64("ol.plot.learning_plane", task=task, solution=solution)
    (curve,) = curves([solution], None, "learning_plane")
    model = solution.model
    check_model(model, "learning_plane")
    refuse_ties(model, "learning_plane")
    check_task(model, task, "learning_plane")
    places = places_of(model.layout, names, 2, "learning_plane")
    ax = axes_of(ax, "learning_plane")
    grams = np.asarray(solution.overlaps.gram)[: curve.end + 1]
    if not -len(grams) <= point < len(grams):
        raise ValueError(f"learning_plane: point must be from {-len(grams)} to {len(grams) - 1}, got {point!r}.")
    course = np.stack([grams[:, i, j] for i, j in places], axis=1)
    chosen = _around(course) if limits is None else checked_limits(limits, "learning_plane")
    fine = grid_of(chosen, _FINER * (N_ARROWS - 1) + 1)
    networks = with_entries(grams[point], places, fine)
    smallest = np.linalg.eigvalsh(networks)[..., 0]
    loss, velocity = (np.asarray(a) for a in _field(model, jnp.asarray(networks), task, model.layout.rates(rates)))
    feasible = smallest >= 0
    loss = np.where(feasible, loss, np.nan)
    flow = np.stack([velocity[..., i, j] for i, j in places], axis=-1)
    flow = np.where(feasible[..., None], flow, np.nan)
    axes = np.moveaxis(fine, -1, 0)
    if smallest.min() < 0:
        ax.contourf(*axes, smallest, levels=[smallest.min(), 0], colors=["0.85"], zorder=0)
    draw_flow(ax, fine[::_FINER, ::_FINER], flow[::_FINER, ::_FINER])
    _draw_loss(ax, axes, loss)
    ax.plot(*course.T, color=COLOURS[1], linewidth=2.0, label="learning", zorder=3)
    for i, marker, label in ((0, "s", "start"), (curve.end, "o", "end")):
        ax.plot(*course[i], color=COLOURS[1], marker=marker, markersize=6, linestyle="none", label=label, zorder=3)
    ax.plot(*course[point], color="black", marker="o", markersize=11, markerfacecolor="none", linestyle="none",
            label="others fixed here", zorder=3)  # fmt: skip
    ax.set(xlabel=f"overlap {symbol(names[0])}", ylabel=f"overlap {symbol(names[1])}")
    legend_above(ax, ncols=2)
    return ax


@eqx.filter_jit
def _field(model: Model, networks: jax.Array, task: Task, rates: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The loss and dG/dtau of Gram matrices [n, n, d, d]."""

    def one(gram):
        loss, slope = gram_loss_gradient(model, gram, task)
        half = gram @ slope * rates
        return loss, -(half + half.T)

    # Row by row: the states of all trials at once would fill the memory.
    return jax.lax.map(jax.vmap(one), networks)


def _draw_loss(ax: "Axes", axes: np.ndarray, loss: np.ndarray) -> None:
    """Contours at equal ratios of the loss, where it varies in the plane."""
    from matplotlib.colors import LogNorm

    positive = loss[np.isfinite(loss) & (loss > 0)]
    if not positive.size or np.ptp(positive) <= 1e-9 * positive.max():
        ax.annotate("the loss does not depend on these", (0.5, 0.02), xycoords="axes fraction", ha="center",
                    fontsize=FONT_SIZE)  # fmt: skip
        return
    high = positive.max()
    low = max(positive.min(), _LEAST * high)
    levels = np.geomspace(low, high, _N_CONTOURS + 2)[1:-1]
    drawn = ax.contour(
        *axes, loss, levels=levels, norm=LogNorm(low, 2 * high), cmap="viridis", linewidths=1.1, alpha=0.9, zorder=1.5
    )
    ax.figure.colorbar(drawn, ax=ax, label="loss", shrink=0.8, format="%.2g", ticks=levels)


def _around(course: np.ndarray) -> Any:
    """Limits around a course, with half of its extent beside it."""
    low, high = course.min(axis=0), course.max(axis=0)
    beside = 0.5 * np.maximum(high - low, 0.2 * (high - low).max() or 0.5)
    return tuple(zip((low - beside).tolist(), (high + beside).tolist(), strict=True))
