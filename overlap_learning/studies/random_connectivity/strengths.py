"""Strengths: what the strength of a bulk does to learning the same task from the same overlaps."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import scalar
from overlap_learning.dynamics.integrate import integrate
from overlap_learning.learning.rules import AbstractRule
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activations import Linear
from overlap_learning.model.bulk import RandomBulk
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.random_connectivity.learning import Depth
from overlap_learning.tasks.task import Task


class StrengthLearning(NamedTuple):
    """Linear networks of N to infinity whose bulks differ in strength, and which learn the same.

    Attributes:
        strengths: g, shape [G].
        solutions: of each.
        criterion: the share of the first loss that counts as learned.
    """

    strengths: np.ndarray
    solutions: list[Solution]
    criterion: float

    @property
    def moved(self) -> jax.Array:
        """By how much learning has moved each overlap, shape [G, d, d]."""
        return jnp.stack([solution.overlaps.gram[-1] - solution.overlaps.gram[0] for solution in self.solutions])

    @property
    def times(self) -> np.ndarray:
        """Learning time at which the loss falls to the criterion, shape [G]; NaN where it did not.

        Between saved points the logarithm of the loss is interpolated.
        """
        return np.array([_crossing(solution, self.criterion) for solution in self.solutions])


def strength_learning(
    strengths: Sequence[float],
    task: Task,
    start: Overlaps,
    rule: AbstractRule,
    *,
    symmetry: float = 0.0,
    criterion: float = 0.05,
    depth: Depth | None = None,
) -> StrengthLearning:
    """The same overlaps learn the same task inside of bulks of several strengths.

    For independent entries, all of them do the same before learning: outputs see moments `z^T W0^j m / N` of a bulk,
    which are 0 for N to infinity. What differs is how they learn.

    Args:
        strengths: g of each network.
        task: the `Task`.
        start: the `Overlaps` of all.
        rule: the learning rule; `rates={"W": 1.0}` has W learn too.
        symmetry: tau of the bulks.
        criterion: the share of the first loss that counts as learned.
        depth: as in `ol.integrate`.

    Returns:
        A `StrengthLearning`.

    Raises:
        ValueError: if a strength is unstable, or the criterion out of range.

    Source: own derivation (theory page, section 9).

    Examples:
        >>> task = ol.tasks.exponential_filter(decay=0.2, duration=4.0, dt=0.2)
        >>> start = ol.Overlaps.from_entries(ol.Layout(), zu=0.1, vm=0.1)
        >>> rule = ol.GradientDescent(learning_rate=5e-2, n_steps=40)
        >>> found = ol.studies.random_connectivity.strength_learning([0.0, 0.5], task, start, rule)
        >>> bool(abs(found.solutions[0].loss[0] - found.solutions[1].loss[0]) < 1e-5), found.times.shape
        (True, (2,))
    """
    criterion = float(scalar(criterion, "strength_learning: criterion", "a share, in (0, 1)", 0, 1))
    values = np.asarray(strengths, float)
    solutions = []
    for g in values:
        model = Model(start.layout, Linear(), RandomBulk(g, symmetry=symmetry))
        solutions.append(integrate(model, task, start, rule, depth=depth))
    return StrengthLearning(values, solutions, criterion)


def _crossing(solution: Solution, criterion: float) -> float:
    loss, time = np.asarray(solution.loss), np.asarray(solution.time)
    below = np.flatnonzero(loss <= criterion * loss[0])
    if below.size == 0:
        return np.nan
    i = below[0]
    logarithms = np.log(loss[[i - 1, i]])
    return float(np.interp(-np.log(criterion * loss[0]), -logarithms, time[[i - 1, i]]))
