"""Symmetry: the continuous symmetries that the loss of one task has, found by rank."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import check_key, require_float64
from overlap_learning.dynamics.conserved import conserved
from overlap_learning.dynamics.gradient import gram_loss_gradient
from overlap_learning.dynamics.laws import laws_of
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.tasks.task import Task, check_task


class Symmetries(NamedTuple):
    """What the loss of a task does not see, and what follows from it.

    Attributes:
        generators: a basis of the matrices X with the loss the same at `V exp(eps X)`, shape [g, d, d]: of the gauge
            (R^2 of them), of the scaling of m against z where phi is homogeneous, of rotations that a task allows.
        charges: a basis of the symmetric C with `tr(C G)` conserved, shape [c, d, d]: those for which `C P` is a
            generator. Orthonormal as matrices.
        known: how many of these the closed forms say.
        further: a basis of those that they do not, shape [c - known, d, d].
        gap: the largest singular value that counted as 0, and the smallest that did not, as shares of the largest.
    """

    generators: np.ndarray
    charges: np.ndarray
    known: int
    further: np.ndarray
    gap: tuple[float, float]


def symmetries(
    model: Model,
    task: Task,
    overlaps: Overlaps,
    rates: Any = None,
    *,
    key: jax.Array,
    spread: float = 0.3,
    threshold: float = 1e-10,
) -> Symmetries:
    """The symmetries of a task's loss that act on V from the right, and the conserved numbers linear in the overlaps.

    The loss does not change at `V exp(eps X)` if `tr(S G X) = 0` at every G, S the symmetrised gradient there. This is
    linear in X: each G is an equation, and the null space of many is the algebra. `tr(C G)` is conserved if
    `tr(C P S G) = 0` at every G, the same with `X = C P`. Overlaps are sampled as those of `V (1 + spread noise)`, with
    frozen vectors as they are.

    Conserved numbers that are not linear in G (the spectrum) are not found in this way.

    Args:
        model: the `Model`.
        task: a fixed batch.
        overlaps: the `Overlaps` about which to sample, positive definite.
        rates: relative learning rates P.
        key: a jax random key.
        spread: how far from these overlaps to sample.
        threshold: singular values below this share of the largest count as 0.

    Returns:
        `Symmetries`.

    Raises:
        ValueError: if layouts or channels do not match, or the gradient is 0 or overflows at half of the samples.
        RuntimeError: if jax is not in 64-bit mode.

    Source: theory page, section 5.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Erf())
        >>> start = ol.Overlaps.random(model.layout, key=jax.random.key(0), scale=0.3)
        >>> task = ol.tasks.exponential_filter(duration=3.0, dt=0.1)
        >>> found = ol.symmetries(model, task, start, key=jax.random.key(1))
        >>> len(found.generators), len(found.charges), found.known, len(found.further)
        (1, 1, 1, 0)
    """
    require_float64("ol.symmetries", model=model, task=task, overlaps=overlaps)
    layout = check_layout(model, overlaps, "symmetries")
    check_task(model, task, "symmetries")
    check_key(key, "symmetries")
    speeds = np.asarray(layout.rates(rates))
    d, trained = layout.size, speeds > 0
    i, j = layout.entry_indices
    # Twice as many equations as unknowns.
    noise = spread * jax.random.normal(key, (2 * d * d, d, d)) * trained
    work = np.asarray(_work(model, task, overlaps.gram, noise))
    # An equation counts as much as any other; where the loss is flat or overflows there is none.
    size = np.max(np.abs(work), axis=(1, 2))
    there = (size > 0) & np.isfinite(size)
    if there.sum() < d * d:
        raise ValueError(f"symmetries: the gradient is 0 or not finite at {(~there).sum()} of {len(there)} samples.")
    work = work[there] / size[there, None, None]
    work = work / np.linalg.norm(work, axis=(1, 2), keepdims=True)

    # Columns of X that belong to frozen vectors are 0: these do not move.
    free = np.flatnonzero(np.broadcast_to(trained, (d, d)))
    space, gap = _null(np.swapaxes(work, 1, 2).reshape(len(work), d * d)[:, free], threshold)
    generators = np.zeros((len(space), d * d))
    generators[:, free] = space

    # Symmetric C with orthonormal coordinates: an entry off the diagonal stands for two.
    scale = np.where(i == j, 1.0, np.sqrt(2.0))
    moved = speeds[:, None] * work
    space, other = _null((moved + np.swapaxes(moved, 1, 2))[:, i, j] / 2 * scale, threshold)
    laws = laws_of(model)
    families = conserved(model, overlaps, rates).charges
    forms = np.concatenate([np.asarray(families[name].right) for name, law in laws.items() if law.is_linear])
    # Coordinates of the closed forms within the space that was found: what they leave of it is new.
    inside = (forms[:, i, j] * scale) @ space.T
    rest, _ = _null(inside, threshold)
    return Symmetries(
        generators.reshape(-1, d, d),
        _matrices(space / scale, d),
        len(space) - len(rest),
        _matrices(rest @ space / scale, d),
        (max(gap[0], other[0]), min(gap[1], other[1])),
    )


@eqx.filter_jit
def _work(model: Model, task: Task, gram: jax.Array, noise: jax.Array) -> jax.Array:
    """S G at the overlaps of `V (1 + noise)`, shape [n, d, d]."""

    def at(change):
        moved = jnp.eye(len(gram)) + change
        there = moved.T @ gram @ moved
        return gram_loss_gradient(model, there, task)[1] @ there

    return jax.vmap(at)(noise)


def _null(rows: np.ndarray, threshold: float) -> tuple[np.ndarray, tuple[float, float]]:
    """An orthonormal basis of the null space, shape [k, n], and the singular values on both sides of the threshold."""
    if not rows.any():
        return np.eye(rows.shape[1]), (0.0, np.inf)
    _, values, vectors = np.linalg.svd(rows)
    shares = np.zeros(rows.shape[1])
    shares[: len(values)] = values / values[0]
    rank = int(np.sum(shares > threshold))
    below = float(shares[rank]) if rank < len(shares) else 0.0
    return vectors[rank:], (below, float(shares[rank - 1]))


def _matrices(entries: np.ndarray, size: int) -> np.ndarray:
    i, j = np.triu_indices(size)
    matrices = np.zeros((len(entries), size, size))
    matrices[:, i, j] = matrices[:, j, i] = entries
    return matrices
