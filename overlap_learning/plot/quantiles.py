"""How Gaussian the neurons are."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from overlap_learning.model.network import Network
from overlap_learning.plot.style import COLOURS, axes_of, legend_above, symbol

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def quantiles(network: Network, *, ax: "Axes | None" = None) -> "Axes":
    """Quantiles over neurons of each vector, in units of its root mean square, against normal ones.

    Gaussian neurons lie on the diagonal. The theory of nonlinear networks assumes that they do, and training moves
    them away.

    Args:
        network: the `Network`.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if `network` is of another kind, or a batch.

    Source: Ger & Barak 2026, Fig. 4b, c.

    Examples:
        >>> start = ol.Overlaps.from_entries(ol.Layout())
        >>> ax = ol.plot.quantiles(ol.Network.sample(start, 200, key=jax.random.key(0)))
        >>> len(ax.get_lines())
        5
    """
    if not isinstance(network, Network) or network.vectors.ndim != 2:
        shape = f" with vectors {list(network.vectors.shape)}" if isinstance(network, Network) else ""
        raise ValueError(
            f"quantiles: network must be one ol.Network, vectors [N, d], got {type(network).__name__}{shape}."
        )
    ax = axes_of(ax, "quantiles")
    vectors, weights = np.asarray(network.vectors, dtype=float), np.asarray(network.weights, dtype=float)
    bound = 0.0
    for i, name in enumerate(network.layout.vector_names):
        values = vectors[:, i] / np.sqrt(np.sum(weights * vectors[:, i] ** 2))
        order = np.argsort(values)
        expected = ndtri(np.cumsum(weights[order]) - weights[order] / 2)
        kurtosis = np.sum(weights * values**4) - 3
        ax.plot(
            expected, values[order], linestyle="none", marker=".", markersize=3.5, markeredgewidth=0,
            color=COLOURS[i % len(COLOURS)], label=f"{symbol(name)} (${kurtosis:+.2f}$)",
        )  # fmt: skip
        bound = max(bound, np.abs(expected).max())
    ax.plot([-bound, bound], [-bound, bound], color="0.5", linewidth=0.9, zorder=0, label="_Gaussian")
    ax.set(xlabel="normal quantile", ylabel="quantile over neurons / rms")
    handles, texts = ax.get_legend_handles_labels()
    legend_above(
        ax, handles, ncols=min(4, len(texts)), markerscale=3, handletextpad=0.1, title="vector (excess kurtosis)"
    )
    return ax
