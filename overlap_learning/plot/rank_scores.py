"""Held-out scores of several ranks."""

from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.fitting.ranks import RankComparison
from overlap_learning.plot.style import COLOURS, axes_of, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def rank_scores(comparison: RankComparison, *, ax: "Axes | None" = None) -> "Axes":
    """The mean deviance of held-out blocks against rank, with the standard error of its distance to the best.

    Args:
        comparison: of `ol.fitting.compare_ranks`.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.
    """
    ax = axes_of(ax, "rank_scores")
    errors = np.nan_to_num(comparison.errors)
    ax.errorbar(comparison.ranks, comparison.scores, errors, color=COLOURS[0], marker="o", capsize=2)
    chosen = comparison.fit
    ax.plot(chosen.rank, chosen.score, marker="o", markersize=11, markerfacecolor="none", color=COLOURS[1],
            linestyle="none", label="smallest within one error of the best")  # fmt: skip
    ax.set_xticks(comparison.ranks)
    ax.set_yscale("log")
    ax.set_xlabel("rank")
    ax.set_ylabel("mean deviance of held-out blocks")
    legend_above(ax)
    return ax
