"""ReducedNetwork: the few deterministic neurons that a network with a bulk is, for N to infinity or for one W0."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from overlap_learning.model.layout import Layout
from overlap_learning.model.overlaps import Overlaps, unchecked

#: Singular values of the change of W that are kept, the largest first.
N_VALUES = 8


class ReducedNetwork(eqx.Module):
    """A linear network with a bulk in coordinates of the directions that learning reaches: what `ol.integrate` learns.

    Coordinates are those of p orthonormal directions, so that inner products are plain sums: `G = F^T F`, and
    `W = kept W0 + change` maps neurons to neurons as it does in the large network. It goes on learning where it
    stopped: `ol.integrate(model, task, solution.final, rule)`.

    Attributes:
        vectors: F, shape [p, d]; p = n k, where k directions are alike for W0.
        layout: the `Layout` of its columns.
        initial: W0 on one of the k alike directions, shape [n, n].
        kept: the share of W0 that weight decay has left, shape [].
        change: what learning added to W, shape [p, p]; None: W did not learn.
        coarse: the same network in fewer directions, by which the error is estimated; None: there are no others.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear(), bulk=ol.RandomBulk(0.4))
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> rule = ol.GradientDescent(learning_rate=5e-3, n_steps=20, rates={"W": 1.0})
        >>> learned = ol.integrate(model, ol.tasks.exponential_filter(duration=4.0), start, rule).final
        >>> learned.overlaps["z", "m"].shape, learned.connectivity.shape == learned.change.shape
        ((1, 1), True)
    """

    vectors: jax.Array
    layout: Layout = eqx.field(static=True)
    initial: jax.Array
    kept: jax.Array
    change: jax.Array | None = None
    coarse: "ReducedNetwork | None" = None

    @property
    def overlaps(self) -> Overlaps:
        """G."""
        return unchecked(self.vectors.T @ self.vectors, self.layout)

    @property
    def bulk(self) -> jax.Array:
        """W, shape [p, p]; if it did not learn, on one of the alike directions, shape [n, n]."""
        bulk = self.kept * self.initial
        return bulk if self.change is None else widened(bulk, len(self.vectors)) + self.change

    @property
    def connectivity(self) -> jax.Array:
        """`W + u v^T`, shape [p, p]."""
        u, v = (self.vectors[:, self.layout.block(name)] for name in "uv")
        return widened(self.bulk, len(self.vectors)) + u @ v.T

    def __repr__(self) -> str:
        return f"ReducedNetwork({self.layout}, {self.vectors.shape[0]} directions)"


_FIELDS = ("vectors", "initial", "kept", "change")


def as_arrays(network: ReducedNetwork, kind: str = "reduced") -> dict[str, jax.Array]:
    """The arrays of a network by name, as files hold them."""
    own = {f"{kind}_{name}": getattr(network, name) for name in _FIELDS if getattr(network, name) is not None}
    return own if network.coarse is None else own | as_arrays(network.coarse, "coarse")


def from_arrays(arrays: Mapping[str, jax.Array], layout: Layout, kind: str = "reduced") -> ReducedNetwork | None:
    """The network that `as_arrays` took apart; None: there is none."""
    if f"{kind}_vectors" not in arrays:
        return None
    vectors, initial, kept, change = (arrays.get(f"{kind}_{name}") for name in _FIELDS)
    coarse = None if kind == "coarse" else from_arrays(arrays, layout, "coarse")
    return ReducedNetwork(vectors, layout, initial, kept, change, coarse)  # pyright: ignore[reportArgumentType]


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


def driven(
    layout: Layout, vectors: jax.Array, bulk: jax.Array, task: Any, kicks: jax.Array | None = None
) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
    """Outputs of a reduced network, shape [B, T, n_out]; its states if it is kicked; its activity if that is penalised.

    `h <- h + dt (-h + W h + u v^T h + m x)`, `y = z^T h`, read before the step.

    Args:
        layout: of the network.
        vectors: F, shape [p, d].
        bulk: W, shape [p, p], or on one of k alike directions, shape [n, n].
        task: inputs [B, T, n_in] and the step dt.
        kicks: what is added to the state by each step, shape [T, p, B].
    """
    n_fields, rank = layout.n_fields, layout.rank
    fields, readers = vectors[:, :n_fields], vectors[:, n_fields:]
    inputs = jnp.moveaxis(task.inputs, 0, -1).astype(vectors.dtype)
    shape = (len(vectors), inputs.shape[-1])
    penalised = getattr(task, "activity_penalty", None) is not None

    def step(h, now):
        x, kick = now
        read = readers.T @ h
        drive = (bulk @ h.reshape(len(bulk), -1)).reshape(shape) + fields @ jnp.concatenate([x, read[:rank]])
        moved = h + task.dt.astype(h.dtype) * (drive - h)
        # Inner products are sums: this is the mean of h^2 over neurons.
        squares = jnp.sum(jnp.square(h), axis=0) if penalised else None
        return (moved, (read[rank:], None, squares)) if kick is None else (moved + kick, (read[rank:], h, squares))

    _, (outputs, states, squares) = lax.scan(step, jnp.zeros(shape, vectors.dtype), (inputs, kicks))
    return jnp.moveaxis(outputs, -1, 0), states, None if squares is None else squares.T
