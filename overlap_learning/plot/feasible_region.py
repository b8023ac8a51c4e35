"""The region of two overlaps that a network can have."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from overlap_learning.checks import refuse_traced, require_float64
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.style import COLOURS, axes_of, legend_above, symbol
from overlap_learning.studies.equivalence.region import Region, places_of, region

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Rays from within to the boundary.
N_RAYS = 720


def feasible_region(
    overlaps: Overlaps, model: Model, names: Sequence[str], *, limits: Any = None, ax: "Axes | None" = None
) -> "Axes":
    r"""The values that two overlaps can have together, all others as they are: where G is positive semi-definite.

    If both are invisible, every point inside is a network that does the same (`ol.equivalent`). The region is convex;
    where it goes on beyond the picture, as a norm does, it has no outline.

    Args:
        overlaps: the `Overlaps`, which are the dot.
        model: the `Model`.
        names: two overlaps, such as ("mu", "uu").
        limits: ((low, high), (low, high)) of the two; None: norms of up to twice what they are.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if there are no such overlaps, layouts differ, or the region has no inside.
        RuntimeError: if jax is not in 64-bit mode.

    Source: theory page, section 6.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> overlaps = ol.Overlaps.from_entries(model.layout, zu=0.5)
        >>> ax = ol.plot.feasible_region(overlaps, model, ("mu", "uu"))
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('invisible overlap $\\sigma_{m u}$', 'invisible overlap $\\sigma_{u u}$')
    """
    places = checked_places(overlaps, model, names, 2, "feasible_region")
    ax = axes_of(ax, "feasible_region")
    found = region(overlaps, places, limits, "feasible_region")
    points, own = outline(found)
    ax.fill(*points.T, color=COLOURS[5], alpha=0.3, linewidth=0, label="feasible")
    ax.plot(*np.where(own, points.T, np.nan), color=COLOURS[0], linewidth=1.6, label="smallest eigenvalue of $G$ is 0")
    here = [found.gram[place] for place in places]
    ax.plot(*here, color=COLOURS[1], marker="o", linestyle="none", label="this network")
    labels = named(model, names)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    legend_above(ax, ncols=2)
    return ax


def outline(found: Region, n_rays: int = N_RAYS) -> tuple[np.ndarray, np.ndarray]:
    """The boundary of a region of two overlaps, closed, shape [n_rays + 1, 2]; where it is not that of the picture."""
    angles = np.linspace(0, 2 * np.pi, n_rays + 1)
    size = found.limits[:, 1] - found.limits[:, 0]
    return found.boundary(size * np.stack([np.cos(angles), np.sin(angles)], axis=-1))


def named(model: Model, names: Sequence[str]) -> list[str]:
    """Labels of axes."""
    return [f"{'visible' if name in model.visible_names else 'invisible'} overlap {symbol(name)}" for name in names]


def checked_places(
    overlaps: Overlaps, model: Model, names: Sequence[str], n: int, caller: str
) -> list[tuple[int, int]]:
    """Rows and columns of n overlaps of one network.

    Raises:
        ValueError: naming the caller, as `feasible_region` says.
    """
    require_float64(f"ol.plot.{caller}", model=model, overlaps=overlaps)
    layout = check_layout(model, overlaps, caller, with_bulk=True)
    refuse_traced(caller, overlaps)
    return places_of(layout, names, n, caller)
