"""Phase portraits through learning."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import count
from overlap_learning.learning.solution import Solution
from overlap_learning.plot.curves import curves
from overlap_learning.plot.phase_portrait import draw_portrait, flow_of
from overlap_learning.plot.plane import checked_limits
from overlap_learning.plot.style import FONT_SIZE, legend_above, row_of_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def phase_portraits(
    solution: Solution,
    inputs: ArrayLike = 0.0,
    *,
    points: Sequence[int] | int = 4,
    limits: Any = None,
    ax: "Sequence[Axes] | None" = None,
) -> list["Axes"]:
    """A row of phase portraits through learning, `ol.plot.phase_portrait` at several saved points, on equal axes.

    Args:
        solution: a `Solution` of a network of rank 1 or 2; of a trained one the overlaps are taken.
        inputs: x, a number for all inputs, or shape [n_in].
        points: the numbers of saved points, or how many of them, evenly spaced from the first to the last.
        limits: ((low, high), (low, high)) of the two coordinates; None: around the fixed points of all.
        ax: as many Axes to draw on; None: those of a new figure.

    Returns:
        The Axes, one for each saved point.

    Raises:
        ValueError: if an argument is of another kind, or there are no such points.

    Source: as for `phase_portrait`.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Erf())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.3, vm=0.3)
        >>> task = ol.tasks.exponential_filter(duration=5.0, dt=0.1)
        >>> solution = ol.integrate(model, task, start, ol.GradientDescent(5e-3, 20), trust=False)
        >>> panels = ol.plot.phase_portraits(solution, points=[0, -1])
        >>> [ax.get_legend().get_title().get_text() for ax in panels]
        ['learning time 0', 'learning time 0.1']
    """
    (curve,) = curves([solution], None, "phase_portraits")
    chosen = _chosen(points, curve.end)
    flows = [
        flow_of(solution.model, jax.tree.map(lambda a, i=i: a[i], solution.overlaps), inputs, "phase_portraits")
        for i in chosen
    ]
    panels = row_of_axes(ax, len(chosen), "phase_portraits")
    if limits is None:
        each = np.array([flow.limits for flow in flows])
        limits = np.stack([each[..., 0].min(axis=0), each[..., 1].max(axis=0)], axis=1)
    limits = checked_limits(limits, "phase_portraits")
    for panel, flow, i in zip(panels, flows, chosen, strict=True):
        draw_portrait(panel, flow, limits)
        legend_above(panel, ncols=2, title=f"learning time {curve.time[i]:.3g}", title_fontsize=FONT_SIZE)
    return panels


def _chosen(points: Sequence[int] | int, end: int) -> list[int]:
    """The numbers of saved points, from 0.

    Raises:
        ValueError: if there are no such ones.
    """
    if isinstance(points, int):
        n = count(points, "phase_portraits: points", most=end + 1)
        return np.linspace(0, end, n).round().astype(int).tolist()
    chosen = [int(i) + (end + 1 if i < 0 else 0) for i in points]
    if not chosen or not all(0 <= i <= end for i in chosen):
        raise ValueError(
            f"phase_portraits: points must be numbers of saved points, from 0 to {end}, or -1 for the last, got "
            f"{points!r}."
        )
    return chosen
