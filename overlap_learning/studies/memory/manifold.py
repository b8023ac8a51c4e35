"""Manifold: how much a task leaves free, and how much of that gradient flow can reach."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import require_float64
from overlap_learning.dynamics.conserved import conserved
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
        conserved: how many more directions the conserved numbers of gradient flow pin.
        reachable: what is left free of both, `free - conserved`: where training on such tasks can lead, the task done
            alike. What breaks the conserved numbers moves along the rest.
        invariants: how many conserved numbers are independent of each other; more than `conserved` where the outputs
            pin some of them already.
    """

    n_overlaps: int
    pinned: int
    free: int
    conserved: int
    reachable: int
    invariants: int


def solution_manifold(
    model: Model, task: Task, overlaps: Overlaps, *, rates: Any = None, threshold: float = 1e-9
) -> SolutionManifold:
    """The dimension of the manifold of equally good overlaps, and of what gradient flow can reach on it.

    Ranks of Jacobians with respect to the overlaps: of the outputs (where the loss reads them), of the conserved
    numbers (`overlap_learning.dynamics.conserved`: spectrum, gauge and so on), and of both together. The numbers are
    conserved for every target; whether they are all, and what a special task conserves besides, says
    `overlap_learning.dynamics.symmetry.symmetries`.

    Args:
        model: the `Model`.
        task: a fixed batch.
        overlaps: the `Overlaps` at which to count, positive definite.
        rates: relative learning rates P, with which they are learned.
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
        (3, 7, 5, 2)
    """
    require_float64("ol.studies.solution_manifold")
    check_layout(model, overlaps, "solution_manifold")
    check_task(model, task, "solution_manifold")
    outputs = _unit(np.asarray(_output_slopes(model, task, overlaps.gram)))
    numbers = _unit(np.asarray(conserved(model, overlaps, rates).slopes))
    pinned, kept, both = (
        _rank(jacobian, threshold) for jacobian in (outputs, numbers, np.concatenate([outputs, numbers]))
    )
    p = model.layout.n_overlaps
    return SolutionManifold(p, pinned, p - pinned, both - pinned, p - both, kept)


@eqx.filter_jit
def _output_slopes(model: Model, task: Task, gram: jax.Array) -> jax.Array:
    rows, columns = model.layout.entry_indices

    def read(entries):
        matrix = jnp.zeros_like(gram).at[rows, columns].set(entries).at[columns, rows].set(entries)
        return (jnp.sqrt(task.weights) * reduced_outputs(model, matrix, task)).ravel()

    return jax.jacfwd(read)(gram[rows, columns])


def _unit(jacobian: np.ndarray) -> np.ndarray:
    """A Jacobian at a scale of 1, so that one threshold serves several together."""
    return jacobian / np.linalg.norm(jacobian, ord=2) if jacobian.any() else jacobian


def _rank(jacobian: np.ndarray, threshold: float) -> int:
    values = np.linalg.svd(jacobian, compute_uv=False)
    return int(np.sum(values > threshold * values[0])) if len(values) else 0
