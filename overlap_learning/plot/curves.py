"""Curves: the solutions that a picture compares, their names, looks and axis of learning time."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from overlap_learning.learning.solution import Solution
from overlap_learning.model.network import AbstractNetwork
from overlap_learning.plot.courses import is_dataset
from overlap_learning.plot.style import DIRECT, FULL, THEORY, Look, looks, numbered

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclasses.dataclass(frozen=True)
class Curve:
    """One of the compared solutions.

    Args:
        solution: the `Solution`.
        label: its name in the legend.
        look: how it is drawn.
        time: learning time of its saved points, shape [S].
    """

    solution: Solution
    label: str
    look: Look
    time: np.ndarray

    @property
    def end(self) -> int:
        """Index of the last saved point that was reached."""
        return int(np.flatnonzero(np.isfinite(self.time))[-1])

    def settings(self, *, invisible: bool = False) -> dict[str, Any]:
        """Settings of matplotlib's Line2D for a series of this solution."""
        return self.look.settings(len(self.time), invisible=invisible)


def curves(solutions: Sequence[Solution], labels: Sequence[str] | None, caller: str) -> list[Curve]:
    """The solutions with their names and looks: lines for theory, circles for full N, dotted lines for direct descent.

    Raises:
        ValueError: if there is none, one is no `Solution` or a batch of them, layouts differ, or labels do not fit.
    """
    if not solutions:
        raise ValueError(f"{caller}: pass one or more solutions, such as ol.plot.{caller}(theory, full).")
    for solution in solutions:
        if not isinstance(solution, Solution):
            instead = (
                ". Of a dataset, ol.plot.loss(data) draws the loss at each point, and xarray any variable: "
                "data.overlaps.sel(overlap='zu').plot(hue=...)."
            )
            raise ValueError(
                f"{caller}: solutions must be ol.Solution, got {type(solution).__name__}"
                f"{instead if is_dataset(solution) else '.'}"
            )
        if solution.loss.ndim != 1:
            raise ValueError(
                f"{caller}: this solution is a batch of shape {list(solution.loss.shape[:-1])}; draw one member: "
                "jax.tree.map(lambda a: a[0], solution)."
            )
        if solution.model.layout != solutions[0].model.layout:
            raise ValueError(
                f"{caller}: solutions must share a layout, got {solutions[0].model.layout} and {solution.model.layout}."
            )
    if labels is None:
        labels = numbered([_name(solution) for solution in solutions])
    if isinstance(labels, str) or len(labels) != len(solutions):
        raise ValueError(f"{caller}: labels must be {len(solutions)} names, one for each solution, got {labels!r}.")
    times = [np.asarray(solution.time) for solution in solutions]
    return [Curve(*parts) for parts in zip(solutions, labels, _looks(solutions), times, strict=True)]


def label_learning_time(ax: "Axes", compared: Sequence[Curve]) -> None:
    """Name the axis of learning time."""
    # The learning time of an optimiser of unknown rate is its number of steps.
    steps = [curve.solution.step is not None and np.array_equal(curve.time, curve.solution.step) for curve in compared]
    name_learning_time(ax, in_steps=all(steps))


def name_learning_time(ax: "Axes", *, in_steps: bool) -> None:
    """Name the axis of learning time, which is counted in steps or as a sum of learning rates."""
    ax.set_xlabel("learning steps" if in_steps else r"learning time $\tau$ (sum of learning rates)")
    ax.margins(x=0.02)


def _name(solution: Solution) -> str:
    if isinstance(solution.final, AbstractNetwork):
        return f"full N = {solution.final.n_neurons:,}"
    return "direct descent" if solution.transfer is None else "theory"


def _looks(solutions: Sequence[Solution]) -> list[Look]:
    """The look of each kind of solution; a single one is a line."""
    if len(solutions) == 1:
        return [THEORY]
    return looks(
        [FULL if isinstance(s.final, AbstractNetwork) else DIRECT if s.transfer is None else THEORY for s in solutions]
    )
