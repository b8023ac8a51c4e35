"""ReducedNetwork: the few deterministic neurons that a network with a bulk is, for N to infinity or for one W0."""

import equinox as eqx
import jax
import jax.numpy as jnp

from overlap_learning.model.layout import Layout
from overlap_learning.model.overlaps import Overlaps, unchecked

#: Singular values of the change of W that are kept, the largest first.
N_VALUES = 8


class ReducedNetwork(eqx.Module):
    """A linear network with a bulk in coordinates of the directions that learning reaches: what `ol.integrate` learns.

    Coordinates are those of p orthonormal directions, so that inner products are plain sums: `G = F^T F`, and W maps
    neurons to neurons as it does in the large network. It goes on learning where it stopped:
    `ol.integrate(model, task, solution.final, rule)`.

    Attributes:
        vectors: F, shape [p, d]; p = n k, where k directions are alike for W0.
        layout: the `Layout` of its columns.
        bulk: W, shape [p, p]; or, if it never learned, W0 on one of the k alike directions, shape [n, n].
        initial: W0, shape [n, n].
        coarse: the same network in fewer directions, by which the error is estimated; None: there are no others.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear(), bulk=ol.RandomBulk(0.5))
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> rule = ol.GradientDescent(learning_rate=5e-3, n_steps=20)
        >>> learned = ol.integrate(model, ol.tasks.exponential_filter(duration=4.0), start, rule).final
        >>> learned.overlaps["z", "m"].shape, bool(learned.change_norm == 0)
        ((1, 1), True)
    """

    vectors: jax.Array
    layout: Layout = eqx.field(static=True)
    bulk: jax.Array
    initial: jax.Array
    coarse: "ReducedNetwork | None" = None

    @property
    def overlaps(self) -> Overlaps:
        """G."""
        return unchecked(self.vectors.T @ self.vectors, self.layout)

    @property
    def change(self) -> jax.Array:
        """`W - W0`, shape [p, p]; 0 if W never learned."""
        return bulk_change(self.bulk, self.initial, len(self.vectors))

    @property
    def change_norm(self) -> jax.Array:
        """`|W - W0|` (Frobenius)."""
        return jnp.linalg.norm(self.change)

    @property
    def singular_values(self) -> jax.Array:
        """Of `W - W0`, the largest `min(8, p)`, shape [...]."""
        return leading_values(self.change)

    def __repr__(self) -> str:
        return f"ReducedNetwork({self.layout}, {self.vectors.shape[0]} directions)"


def bulk_change(bulk: jax.Array, initial: jax.Array, size: int) -> jax.Array:
    """`W - W0` on all directions, shape [size, size]."""
    return widened(bulk, size) - widened(initial, size)


def widened(bulk: jax.Array, size: int) -> jax.Array:
    """A matrix on all directions, of one that is the same on alike ones."""
    return jnp.kron(bulk, jnp.eye(size // len(bulk)))


def leading_values(matrix: jax.Array) -> jax.Array:
    """The largest singular values, by iteration of a subspace: the change of W is of low rank to many digits."""
    n = len(matrix)
    frame = jax.random.normal(jax.random.key(0), (n, min(n, 2 * N_VALUES)), matrix.dtype)
    for _ in range(3):
        frame, _ = jnp.linalg.qr(matrix @ (matrix.T @ frame))
    return jnp.linalg.svd(frame.T @ matrix, compute_uv=False)[:N_VALUES]
