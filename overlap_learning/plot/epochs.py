"""Epochs: stretches of trials, shaded behind what is drawn over trials."""

from typing import TYPE_CHECKING

from overlap_learning.fitting.result import Fit
from overlap_learning.plot.style import FONT_SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def shade_epochs(ax: "Axes", fit: Fit) -> None:
    """Shade every other stretch of trials of one epoch, and name all of them."""
    if fit.epochs is None:
        return
    begin, n = 0, 0
    for end in range(1, len(fit.epochs) + 1):
        if end < len(fit.epochs) and fit.epochs[end] == fit.epochs[begin]:
            continue
        low, high = fit.trial_ids[begin], fit.trial_ids[end - 1]
        if n % 2:
            ax.axvspan(low, high, color="0.93", zorder=0)
        ax.annotate(
            fit.epochs[begin], ((low + high) / 2, 0.02), xycoords=ax.get_xaxis_transform(), ha="center", va="bottom",
            color="0.4", fontsize=FONT_SIZE,
        )  # fmt: skip
        begin, n = end, n + 1
