"""Loops: what a loop of tasks and its reverse leave in the overlaps."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.learning.rules import AbstractRule
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.studies.memory.holonomy import transport
from overlap_learning.studies.memory.protocol import protocol
from overlap_learning.tasks.task import Task


class Residue(NamedTuple):
    """What a loop and its reverse leave in the overlaps, shape [d, d] each.

    Attributes:
        odd: half the difference of the two ends: the holonomy, which tells the direction.
        even: half their sum, minus the start: what learning in finite steps adds, 0 in the limit of small ones.
    """

    odd: np.ndarray
    even: np.ndarray


def stepped_loop(
    model: Model,
    family: Callable[[jax.Array], Task],
    corners: ArrayLike,
    start: Overlaps | Network,
    rule: AbstractRule,
    n_per_side: int,
    settle: AbstractRule | None = None,
) -> Residue:
    """Learn a loop of tasks and its reverse, each side of it in n steps, each step with the rule.

    With a long rule each step is learned to convergence. With a short flow of time tau the task moves on before that,
    at a speed of a side in n tau, and learning lags behind (`transport` says by how much); `settle` lets it catch up.

    Args:
        model: the `Model`.
        family: the task of parameters theta.
        corners: theta at the corners of the loop, shape [C, n]; the last is the first.
        start: what was learned at the first corner: `Overlaps`, or a `Network` for full N.
        rule: learning of one step, long enough to converge.
        n_per_side: steps of each side.
        settle: how the first task is learned once more when it is back; None: not.

    Source: theory page, section 5 (memory as holonomy).
    """
    turns = np.asarray(corners, dtype=float)
    sides = [np.linspace(first, last, n_per_side + 1)[1:] for first, last in itertools.pairwise(turns)]
    path = np.concatenate(sides)
    back = np.concatenate([path[-2::-1], turns[:1]])
    last, rules = (turns[:0], []) if settle is None else (turns[:1], [settle])
    ends = [
        protocol(model, [family(jnp.array(theta)) for theta in (*way, *last)], start, [rule] * len(way) + rules)[
            -1
        ].overlaps.gram[-1]
        for way in (path, back)
    ]
    first = start.overlaps if isinstance(start, Network) else start
    return _residue(first, *ends)


def transported_loop(model: Model, family: Callable[[jax.Array], Task], corners: ArrayLike, start: Overlaps) -> Residue:
    """The same in infinitely many steps, by `transport`.

    Args:
        model: the `Model`.
        family: the task of parameters theta.
        corners: theta at the corners of the loop, shape [C, n]; the last is the first.
        start: the `Overlaps` learned at the first corner.

    Source: theory page, section 5 (memory as holonomy).

    Examples:
        >>> def family(theta):
        ...     task = ol.tasks.exponential_filter(duration=5.0, dt=0.2)
        ...     target = theta[0] * jnp.exp(-theta[1] * task.times[:-1])
        ...     return ol.Task(task.inputs, task.targets.at[0, 1:, 0].set(target), task.weights, task.dt)
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.random(model.layout, key=jax.random.key(1), scale=0.3)
        >>> rule = ol.GradientDescent(1e-2, 5000, save_every=100)
        >>> start = ol.integrate(model, family(jnp.array([1.0, 0.2])), start, rule).final
        >>> corners = [(1.0, 0.2), (1.0, 0.4), (1.6, 0.4), (1.6, 0.2), (1.0, 0.2)]
        >>> odd, even = ol.studies.transported_loop(model, family, corners, start)
        >>> bool(np.abs(odd).max() > 1e-3), bool(np.abs(even).max() < 0.1 * np.abs(odd).max())
        (True, True)
    """
    turns = np.asarray(corners, dtype=float)
    ends = [transport(model, family, way, start).gram for way in (turns, turns[::-1])]
    return _residue(start, *ends)


def _residue(start: Overlaps, forward: jax.Array, backward: jax.Array) -> Residue:
    first, there, back = (np.asarray(gram) for gram in (start.gram, forward, backward))
    return Residue((there - back) / 2, (there + back) / 2 - first)
