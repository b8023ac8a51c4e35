"""The region of three overlaps that a network can have."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.feasible_region import checked_places, outline
from overlap_learning.plot.space import axes_in_space, name_axes
from overlap_learning.plot.style import COLOURS, legend_above, symbol
from overlap_learning.studies.equivalence.region import Region, region, with_entries

if TYPE_CHECKING:
    from mpl_toolkits.mplot3d import Axes3D

#: Slices that make the surface, and the rays of each.
N_SLICES, _RAYS_OF_SLICE = 41, 90


def feasible_region_in_space(
    overlaps: Overlaps, model: Model, names: Sequence[str], *, limits: Any = None, ax: "Axes3D | None" = None
) -> "Axes3D":
    r"""The values that three overlaps can have together, all others as they are, and its cuts through this network.

    The surface, of slices at the values of the third overlap, is where the smallest eigenvalue of G is 0, or where the
    picture ends; each cut, in a colour of its own, is `ol.plot.feasible_region` of two of them.

    Args:
        overlaps: the `Overlaps`, which are the dot.
        model: the `Model`.
        names: three overlaps, such as ("mu", "vz", "uu").
        limits: three times (low, high); None: norms of up to twice what they are.
        ax: three-dimensional Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: as for `feasible_region`.
        RuntimeError: if jax is not in 64-bit mode.

    Source: theory page, section 6.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> overlaps = ol.Overlaps.from_entries(model.layout, zu=0.5, vm=0.5)
        >>> ol.plot.feasible_region_in_space(overlaps, model, ("mu", "vz", "uu")).get_zlabel()
        '$\\sigma_{u u}$'
    """
    places = checked_places(overlaps, model, names, 3, "feasible_region_in_space")
    ax = axes_in_space(ax, "feasible_region_in_space")
    found = region(overlaps, places, limits, "feasible_region_in_space")
    surface = slices(found)
    ax.plot_surface(*np.moveaxis(surface, -1, 0), color=COLOURS[5], alpha=0.25, linewidth=0, rcount=N_SLICES,
                    ccount=_RAYS_OF_SLICE)  # fmt: skip
    here = np.array([found.gram[place] for place in places])
    for (i, j), colour in zip(itertools.combinations(range(3), 2), COLOURS[1:4], strict=True):
        cut = region(overlaps, [places[i], places[j]], found.limits[[i, j]], "feasible_region_in_space")
        edge, _ = outline(cut)
        points = np.broadcast_to(here, (len(edge), 3)).copy()
        points[:, [i, j]] = edge
        label = f"{symbol(names[i])}, {symbol(names[j])}"
        ax.plot(*points.T, color=colour, linewidth=1.3, label=label)
    ax.plot(*here[:, None], color="black", marker="o", linestyle="none", label="this network")
    name_axes(ax, [symbol(name) for name in names])
    # On small Axes the third label would touch those of its ticks, or leave them.
    ax.zaxis.labelpad = 1
    ax.set_box_aspect(None, zoom=0.82)  # pyright: ignore[reportArgumentType]
    legend_above(ax, ncols=2)
    return ax


def slices(found: Region) -> np.ndarray:
    """Outlines of the region at values of the third overlap, shape [N_SLICES, rays + 1, 3]."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, 61), np.linspace(0, 2 * np.pi, 61))
    rays = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=-1)
    points = found.boundary((found.limits[:, 1] - found.limits[:, 0]) * rays)[0].reshape(-1, 3)
    ends = points[[points[:, 2].argmin(), points[:, 2].argmax()]]
    outlines = []
    # Closer to each other where the region ends.
    for height in (1 - np.cos(np.linspace(0.02, np.pi - 0.02, N_SLICES))) / 2:
        value = ends[0, 2] + height * (ends[1, 2] - ends[0, 2])
        end = ends[int(value > found.centre[2])]
        # The region is convex: between its centre and its end all is within.
        within = found.centre + (value - found.centre[2]) / (end[2] - found.centre[2]) * (end - found.centre)
        gram = with_entries(found.gram, found.places[2:], np.array([value]))
        points, _ = outline(Region(gram, found.places[:2], found.limits[:2], within[:2]), _RAYS_OF_SLICE)
        outlines.append(np.column_stack([points, np.full(len(points), value)]))
    return np.stack(outlines)
