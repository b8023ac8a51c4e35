"""Groups of trials: those of one condition in one epoch, with a colour and a line."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from overlap_learning.plot.style import COLOURS, MANY_COLOURS, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "^", "s", "D")


class Group(NamedTuple):
    """Trials of one condition in one epoch.

    Attributes:
        trials: whether each trial is one of them, shape [K].
        condition: the number of the condition.
        epoch: the number of the epoch; 0 where there are none.
    """

    trials: np.ndarray
    condition: int
    epoch: int


class Groups:
    """All groups of some trials, and how they are drawn.

    Args:
        conditions: the number of the condition of each trial, shape [K].
        names: of the conditions.
        epochs: of each trial; None: no epochs.
    """

    def __init__(self, conditions: Any, names: Sequence[str], epochs: Sequence[str] | None):
        self.names = tuple(names)
        self.epochs = tuple(dict.fromkeys(epochs or ()))
        number = np.array([self.epochs.index(name) for name in epochs]) if epochs else np.zeros(len(conditions), int)
        conditions = np.asarray(conditions)
        pairs = [(c, e) for c in range(len(self.names)) for e in range(max(1, len(self.epochs)))]
        each = [Group((conditions == c) & (number == e), c, e) for c, e in pairs]
        self.each = [group for group in each if group.trials.any()]

    def colour(self, condition: int) -> str:
        """That of a condition."""
        palette = COLOURS if len(self.names) <= len(COLOURS) else MANY_COLOURS
        return palette[condition % len(palette)]

    def legend(self, ax: "Axes", marked: bool = False) -> None:
        """Conditions by colour, and epochs by line or marker, above the Axes."""
        from matplotlib.lines import Line2D

        handles = []
        if len(self.names) > 1:
            for number, name in enumerate(self.names):
                handles.append(
                    Line2D([], [], color=self.colour(number), label=name if name.isalpha() else f"condition {name}")
                )
        for number, name in enumerate(self.epochs):
            # As Any: matplotlib's own types of a marker are narrower than what it takes.
            look: dict[str, Any] = {"linestyle": LINES[number % len(LINES)]}
            if marked:
                look = {"linestyle": "none", "marker": MARKERS[number % len(MARKERS)]}
            handles.append(Line2D([], [], color="0.3", label=name, **look))
        if handles:
            legend_above(ax, handles)
