"""Manifold: how much a task leaves free, and how much of that gradient flow can reach."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import refuse_traced, require_float64
from overlap_learning.dynamics.conserved import conserved
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.model.activity import reduced_outputs
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.tasks.task import Task, check_squares, check_task


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
    numbers (`ol.conserved`: spectrum, gauge and so on), and of both together. The numbers are
    conserved for every target; whether they are all, and what a special task conserves besides, says
    `ol.symmetries`.

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
    require_float64("ol.studies.solution_manifold", model=model, task=task, overlaps=overlaps)
    check_layout(model, overlaps, "solution_manifold")
    refuse_traced("solution_manifold", overlaps)
    check_task(model, task, "solution_manifold")
    check_squares(task, "solution_manifold")
    outputs = outputs_and_slopes(model, task, overlaps.gram)[1]
    numbers = np.asarray(conserved(model, overlaps, rates).slopes)
    outputs, numbers = (jacobian / scale(jacobian) for jacobian in (outputs, numbers))
    p = model.layout.n_overlaps
    pinned, kept, both = (
        p - len(null_space(jacobian, threshold)) for jacobian in (outputs, numbers, np.concatenate([outputs, numbers]))
    )
    return SolutionManifold(p, pinned, p - pinned, both - pinned, p - both, kept)


def outputs_and_slopes(model: Model, task: Task, gram: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """The outputs that the loss reads, weighted as it does, shape [n], and their Jacobian by the overlaps, [n, p]."""
    values, slopes = _outputs_and_slopes(model, task, gram)
    return np.asarray(values), np.asarray(slopes)


@eqx.filter_jit
def _outputs_and_slopes(model: Model, task: Task, gram: jax.Array) -> tuple[jax.Array, jax.Array]:
    rows, columns = model.layout.entry_indices

    def read(entries):
        matrix = jnp.zeros_like(gram).at[rows, columns].set(entries).at[columns, rows].set(entries)
        outputs = (jnp.sqrt(task.weights) * reduced_outputs(model, matrix, task)).ravel()
        return outputs, outputs

    slopes, outputs = jax.jacfwd(read, has_aux=True)(gram[rows, columns])
    return outputs, slopes


def scale(jacobian: np.ndarray) -> float:
    """The largest singular value, 1 for zeros: divided by it, several Jacobians share one threshold."""
    return float(np.linalg.norm(jacobian, ord=2)) if jacobian.any() else 1.0


def null_space(jacobian: np.ndarray, threshold: float) -> np.ndarray:
    """An orthonormal basis of the null space, shape [k, p]; singular values below a share of the largest count as 0."""
    _, values, vectors = np.linalg.svd(jacobian)
    return vectors[int(np.sum(values > threshold * values[0])) if len(values) else 0 :]
