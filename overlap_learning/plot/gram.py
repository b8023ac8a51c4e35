"""The Gram matrix of a network's vectors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from overlap_learning.learning.solution import Solution
from overlap_learning.model.layout import BLOCKS, Layout
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.curves import curves
from overlap_learning.plot.style import FONT_SIZE, axes_of, symbol

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Matrices of at most so many vectors have their numbers in the cells.
_MOST_WRITTEN = 5


def gram(
    *networks: Overlaps | Solution,
    labels: Sequence[str] | None = None,
    limit: float | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Gram matrices of the vectors as colours, side by side: red overlaps are positive, blue ones negative.

    A solution stands for its Gram matrix before and after learning. Thin lines part the blocks m, u, v, z; thick ones
    part (m, u), which span the activity, from (v, z), which read it: what is off both sides is visible to every loss.
    Of at most five vectors the numbers are written too.

    Args:
        *networks: `Overlaps` of one layout, or a `Solution`.
        labels: names of the matrices; None: "before learning" and "after learning" of a solution, else numbers.
        limit: the overlap that has the darkest colour; None: the largest.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes, with a colour bar beside them.

    Raises:
        ValueError: if an argument is of another kind, a batch, or layouts differ.

    Source: Ger & Barak 2026, eq. 2.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> solution = ol.integrate(model, ol.tasks.exponential_filter(), start, ol.GradientDescent(5e-3, 20))
        >>> ax = ol.plot.gram(solution)
        >>> [text.get_text() for text in ax.texts if "learning" in text.get_text()]
        ['before learning', 'after learning']
    """
    matrices, layout, labels = _matrices(networks, labels)
    ax = axes_of(ax, "gram")
    d = layout.size
    bound = max(np.abs(matrix).max() for matrix in matrices) if limit is None else float(limit)
    names = [symbol(name) for name in layout.vector_names]
    # Letters of many vectors have less room.
    size = FONT_SIZE + 1 if len(matrices) * d <= 2 * 6 else FONT_SIZE - 2
    drawn = None
    for i, (matrix, label) in enumerate(zip(matrices, labels, strict=True)):
        left = i * (d + 1)
        extent = (left, left + d, d, 0)
        drawn = ax.imshow(matrix, cmap="RdBu_r", vmin=-bound, vmax=bound, extent=extent, interpolation="nearest")
        _part(ax, layout, left)
        ax.annotate(label, (left + d / 2, 0), (0, 6), textcoords="offset points", ha="center", va="bottom",
                    fontsize=FONT_SIZE + 1)  # fmt: skip
        if d <= _MOST_WRITTEN:
            for (row, column), value in np.ndenumerate(matrix):
                colour = "white" if abs(value) > 0.6 * bound else "black"
                ax.annotate(f"{value:.2g}", (left + column + 0.5, row + 0.5), ha="center", va="center", color=colour,
                            fontsize=FONT_SIZE - 2)  # fmt: skip
    ends = np.arange(d) + 0.5
    ax.set_xticks(np.concatenate([i * (d + 1) + ends for i in range(len(matrices))]), names * len(matrices),
                  fontsize=size)  # fmt: skip
    ax.set_yticks(ends, names, fontsize=size)
    ax.set(xlim=(-0.05, len(matrices) * (d + 1) - 0.95), ylim=(d + 0.05, -0.05), aspect="equal", xlabel="vector",
           ylabel="vector")  # fmt: skip
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    assert drawn is not None
    ax.figure.colorbar(drawn, ax=ax, label="overlap", shrink=0.8)
    return ax


def _matrices(
    networks: Sequence[Overlaps | Solution], labels: Sequence[str] | None
) -> tuple[list[np.ndarray], Layout, Sequence[str]]:
    """What is drawn, and its names.

    Raises:
        ValueError: as `gram` says.
    """
    found: list[Overlaps] = []
    own: list[str] = []
    for network in networks:
        if isinstance(network, Solution):
            (curve,) = curves([network], None, "gram")
            found += [jax.tree.map(lambda a, i=i: a[i], network.overlaps) for i in (0, curve.end)]
            own += ["before learning", "after learning"]
        elif isinstance(network, Overlaps):
            found.append(network)
            own.append(f"network {len(found)}" if len(networks) > 1 else "")
        else:
            raise ValueError(f"gram: networks must be ol.Overlaps or ol.Solution, got {type(network).__name__}.")
    if not found:
        raise ValueError("gram: pass one or more networks, such as ol.plot.gram(solution).")
    layout = found[0].layout
    for overlaps in found:
        if overlaps.layout != layout or overlaps.gram.ndim != 2:
            raise ValueError(
                f"gram: overlaps must be of one layout, {layout}, and no batch, got {overlaps.layout} with gram of "
                f"shape {list(overlaps.gram.shape)}."
            )
    if labels is not None and (isinstance(labels, str) or len(labels) != len(found)):
        raise ValueError(f"gram: labels must be {len(found)} names, one for each matrix, got {labels!r}.")
    return [np.asarray(overlaps.gram) for overlaps in found], layout, own if labels is None else labels


def _part(ax: "Axes", layout: Layout, left: float) -> None:
    """Lines between blocks, and around the matrix."""
    d = layout.size
    edges = {layout.block(name).start: 0.6 for name in BLOCKS} | {layout.n_fields: 1.8, 0: 0.6, d: 0.6}
    for edge, width in edges.items():
        for xs, ys in (((left, left + d), (edge, edge)), ((left + edge, left + edge), (0, d))):
            ax.plot(xs, ys, color="0.2", linewidth=width, label="_edge")
