"""Chain: the network reduced to the Krylov vectors that learning can reach."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from overlap_learning.random_connectivity.network import AbstractNetwork

#: A Krylov vector this close to those before it, relative to its length, is rounding.
ROUNDING = 1e-13


class Chain(NamedTuple):
    """A network in orthonormal bases of its first Krylov vectors.

    Gradients of the output are `p q^T`, `p = R^T w`, `q = R m`, with `R = (I - W0 - Delta W)^-1`, so that Delta W maps
    `span(w, B m, B B^T w, ...)` to `span(m, B^T w, B^T B m, ...)`, the left and the right basis. What is cut off is the
    coupling to later vectors, which learning feels at ever higher orders in time.

    Attributes:
        resolvent: `left^T B right`, shape [n, n]; rows and columns are 0 beyond the end of a chain (without W0: 2).
        w: readout in the left basis, shape [n].
        m: input in the right basis, shape [n].
        overlap: `left^T right`, shape [n, n].
        unit: `beta^2`, by which learning time is multiplied.
    """

    resolvent: jax.Array
    w: jax.Array
    m: jax.Array
    overlap: jax.Array
    unit: jax.Array


class Bases(NamedTuple):
    """Where a chain is in its network: the change of connectivity is `right change left^T`.

    Attributes:
        left: shape [N, n].
        right: shape [N, n].
        network: the network.
    """

    left: jax.Array
    right: jax.Array
    network: AbstractNetwork

    def between(self, mu: ArrayLike) -> jax.Array:
        """`left^T (mu - W0)^-1 right`, shape [n, n]."""
        return self.network.between(self.left, self.right, mu)


def krylov_chain(network: AbstractNetwork, length: int) -> tuple[Chain, Bases]:
    """The chain of a network, and its bases.

    Args:
        network: an `InfiniteNetwork` or a `FiniteNetwork`.
        length: number of vectors of each basis.

    Source: own derivation (theory page, section 9).
    """
    solve, transposed = network.solves()
    empty = jnp.zeros((length, network.w.size))

    def step(i, rows):
        left, right = rows
        image, preimage = solve(right[i]), transposed(left[i])
        return left.at[i + 1].set(_added(left, image)), right.at[i + 1].set(_added(right, preimage))

    start = (empty.at[0].set(_unit(network.w)), empty.at[0].set(_unit(network.m)))
    left, right = (rows.T for rows in jax.lax.fori_loop(0, length - 1, step, start))
    overlap = network.between(left, right)
    chain = Chain(left.T @ solve(right), left.T @ network.w, right.T @ network.m, overlap, network.beta**2)
    return chain, Bases(left, right, network)


def _unit(vector: jax.Array) -> jax.Array:
    return vector / jnp.linalg.norm(vector)


def _added(basis: jax.Array, vector: jax.Array) -> jax.Array:
    """The direction that `vector` adds to the rows of `basis`; 0 if it adds none."""
    rest = vector
    # Twice is enough for orthogonality to rounding.
    for _ in range(2):
        rest = rest - basis.T @ (basis @ rest)
    norm = jnp.linalg.norm(rest)
    is_new = norm > ROUNDING * jnp.linalg.norm(vector)
    return jnp.where(is_new, rest / jnp.where(is_new, norm, 1.0), 0.0)
