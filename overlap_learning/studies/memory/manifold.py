"""Manifold: how much a task leaves free, and how much of that gradient flow can reach."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import require_float64
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.model.activity import reduced_outputs
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.tasks.task import Task, check_task


class SolutionManifold(NamedTuple):
    """Numbers of dimensions in the space of the p overlaps.

    Attributes:
        n_overlaps: p.
        pinned: directions in which the outputs that the loss reads change: the rank of their Jacobian.
        free: dimension of the manifold of overlaps with the same outputs, `p - pinned`.
        conserved: how many more directions the invariants of gradient flow pin (0 for nonlinear networks, which have
            none).
        reachable: what is left free of both, `free - conserved`: where gradient flow from one start can end is a single
            point of it, and what breaks the invariants moves along the rest.
    """

    n_overlaps: int
    pinned: int
    free: int
    conserved: int
    reachable: int


def solution_manifold(model: Model, task: Task, overlaps: Overlaps, *, threshold: float = 1e-9) -> SolutionManifold:
    """The dimension of the manifold of equally good overlaps, and of what the invariants leave free on it.

    Ranks of the Jacobian of the outputs (where the loss reads them) and of the invariants (as the coefficients
    `tr((Sign G)^n)`, n = 1 to d, which are smooth) with respect to the overlaps.

    Args:
        model: the `Model`.
        task: a fixed batch.
        overlaps: the `Overlaps` at which to count, positive definite.
        threshold: singular values below this share of the largest count as 0.

    Returns:
        A `SolutionManifold`.

    Raises:
        ValueError: if layouts or channels do not match.

    Source: theory page, section 5.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> overlaps = ol.Overlaps.random(model.layout, key=jax.random.key(0), scale=0.3)
        >>> found = ol.studies.solution_manifold(model, ol.tasks.exponential_filter(), overlaps)
        >>> found.pinned, found.free, found.conserved, found.reachable
        (3, 7, 4, 3)
    """
    require_float64("ol.studies.solution_manifold")
    check_layout(model, overlaps, "solution_manifold")
    check_task(model, task, "solution_manifold")
    outputs, powers = _jacobians(model, task, overlaps.gram)
    pinned = _rank(np.asarray(outputs), threshold)
    both = pinned
    if model.is_linear:
        # Each block at its own scale, so that one threshold serves both.
        both = _rank(np.concatenate([_scaled(np.asarray(outputs)), _scaled(np.asarray(powers))]), threshold)
    p = model.layout.n_overlaps
    return SolutionManifold(p, pinned, p - pinned, both - pinned, p - both)


@eqx.filter_jit
def _jacobians(model: Model, task: Task, gram: jax.Array) -> tuple[jax.Array, jax.Array]:
    layout = model.layout
    rows, columns = layout.entry_indices
    sign = jnp.asarray(layout.signature)

    def matrix(entries):
        return jnp.zeros_like(gram).at[rows, columns].set(entries).at[columns, rows].set(entries)

    def read(entries):
        return (jnp.sqrt(task.weights) * reduced_outputs(model, matrix(entries), task)).ravel()

    def powers(entries):
        factor = sign[:, None] * matrix(entries)
        power, traces = factor, []
        for _ in range(layout.size):
            traces.append(jnp.trace(power))
            power = power @ factor
        return jnp.stack(traces)

    entries = gram[rows, columns]
    return jax.jacfwd(read)(entries), jax.jacfwd(powers)(entries)


def _scaled(jacobian: np.ndarray) -> np.ndarray:
    return jacobian / np.linalg.norm(jacobian, ord=2)


def _rank(jacobian: np.ndarray, threshold: float) -> int:
    values = np.linalg.svd(jacobian, compute_uv=False)
    return int(np.sum(values > threshold * values[0]))
