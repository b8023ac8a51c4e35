"""Network: a linear network with random connectivity, finite or infinite, as the two solves that learning needs."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import check_key, count, floating, is_traced, later, scalar
from overlap_learning.random_connectivity.spectrum import Spectrum

#: What is said of g, wherever it is an argument.
STRENGTH = "the strength of the random connectivity, 0 <= g < 1 (at g = 1 the linear network becomes unstable)"
#: Nodes of the quadrature over the spectrum: rounding up to g = 0.99 and for chains of up to 64.
N_NODES = 96

Solve = Callable[[jax.Array], jax.Array]


class AbstractNetwork(eqx.Module):
    """A linear network whose output at the fixed point is `w^T (I - W0 - Delta W)^-1 m`."""

    w: eqx.AbstractVar[jax.Array]
    m: eqx.AbstractVar[jax.Array]
    g: eqx.AbstractVar[jax.Array]

    @property
    def beta(self) -> jax.Array:
        """`beta = 1 / (1 - g^2)`, by which W0 amplifies; learning time is in units of `1 / beta^2`."""
        return 1 / ((1 - self.g) * (1 + self.g))

    @abstractmethod
    def solves(self) -> tuple[Solve, Solve]:
        """`x -> B x` and `x -> B^T x`, `B = (I - W0)^-1`, for x of shape [N] or [N, k]."""

    @abstractmethod
    def between(self, left: jax.Array, right: jax.Array, mu: ArrayLike | None = None) -> jax.Array:
        """`left^T (mu - W0)^-1 right`, or `left^T right` if mu is None; left and right have shape [N, k]."""


class InfiniteNetwork(AbstractNetwork):
    """N to infinity: w and m are spread alike over the singular values of B, and over different singular vectors.

    Coordinates are those of the singular vectors, one for each node of the spectrum: B is diagonal, w is in one half of
    them and m in the other, since sums over neurons of products of the two vanish.

    Args:
        g: strength of W0, `0 <= g < 1`.

    Raises:
        ValueError: if g is out of range.
    """

    w: jax.Array
    m: jax.Array
    g: jax.Array
    spectrum: Spectrum

    def __init__(self, g: ArrayLike):
        self.g = as_strength(g)
        self.spectrum, self.w, self.m = _at_nodes(self.g)

    def solves(self) -> tuple[Solve, Solve]:
        values = _twice(jnp.sqrt(self.spectrum.squares))

        def solve(x):
            return values.reshape(-1, *[1] * (x.ndim - 1)) * x

        return solve, solve

    def between(self, left: jax.Array, right: jax.Array, mu: ArrayLike | None = None) -> jax.Array:
        overlap = self.spectrum.overlap(None if mu is None else jnp.asarray(mu))
        return left.T @ (_twice(overlap)[:, None] * right)


class FiniteNetwork(AbstractNetwork):
    """One network of N neurons.

    Args:
        bulk: W0, shape [N, N], with all eigenvalues below 1 in real part: the linear network must be stable.
        w: readout, shape [N]; entries of order `N^(-1/2)`.
        m: input, shape [N].
        g: strength of W0, which sets the unit of learning time; None: `|W0| / sqrt(N)`.

    Raises:
        ValueError: if shapes do not fit, something is not finite, W0 is not stable, or g is out of range.

    Source: Schuessler et al. 2020, eqs. 2, 3 and 5.
    """

    bulk: jax.Array
    w: jax.Array
    m: jax.Array
    g: jax.Array

    def __init__(self, bulk: ArrayLike, w: ArrayLike, m: ArrayLike, *, g: ArrayLike | None = None):
        self.bulk, self.w, self.m = floating(bulk, "bulk"), floating(w, "w"), floating(m, "m")
        shapes = [list(a.shape) for a in (self.bulk, self.w, self.m)]
        n = self.w.size
        if shapes != [[n, n], [n], [n]] or n == 0:
            raise ValueError(f"bulk, w and m must have shapes [N, N], [N] and [N], got {shapes}.")
        for name, a in (("bulk", self.bulk), ("w", self.w), ("m", self.m)):
            if not is_traced(a) and not (np.all(np.isfinite(a)) and (name == "bulk" or np.any(a))):
                raise ValueError(f"{name} must be finite{'' if name == 'bulk' else ' and not 0'}, got {a}.")
        if not is_traced(self.bulk):
            _check_stable(np.asarray(self.bulk))
        self.g = as_strength(jnp.linalg.norm(self.bulk) / jnp.sqrt(n) if g is None else g)

    @classmethod
    def sample(cls, g: ArrayLike, n_neurons: int, *, key: jax.Array, exact: bool = False) -> Self:
        """A network as published: normal W0 of variance `g^2 / N`, normal w and m scaled to length 1.

        Args:
            g: strength of W0, `0 <= g < 1`.
            n_neurons: N.
            key: a jax random key.
            exact: make w orthogonal to `B m` and `B B^T B m`, so that the output and its second derivative in learning
                are 0 at the start as they are for N to infinity, and not of order `N^(-1/2)`.

        Raises:
            ValueError: if g or n_neurons is out of range, or the W0 of this key is not stable, as it can be in small
                networks with g near 1.
        """
        n = count(n_neurons, "n_neurons", 3 if exact else 1)
        check_key(key, "FiniteNetwork.sample")
        g = as_strength(g)
        network = cls(*_draw(n, g, key), g=g)
        return cls(network.bulk, _unseen(network), network.m, g=g) if exact else network

    def solves(self) -> tuple[Solve, Solve]:
        factors = jax.scipy.linalg.lu_factor(jnp.eye(self.w.size) - self.bulk)
        return (
            lambda x: jax.scipy.linalg.lu_solve(factors, x),
            lambda x: jax.scipy.linalg.lu_solve(factors, x, trans=1),
        )

    def between(self, left: jax.Array, right: jax.Array, mu: ArrayLike | None = None) -> jax.Array:
        if mu is None:
            return left.T @ right
        return left.T @ jnp.linalg.solve(mu * jnp.eye(self.w.size) - self.bulk, right)


@jax.jit
def _at_nodes(g: jax.Array) -> tuple[Spectrum, jax.Array, jax.Array]:
    spectrum = Spectrum(g, N_NODES)
    root, nothing = jnp.sqrt(spectrum.weights), jnp.zeros(N_NODES)
    return spectrum, jnp.concatenate([root, nothing]), jnp.concatenate([nothing, root])


@eqx.filter_jit
def _draw(n: int, g: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    keys = jax.random.split(key, 3)
    bulk = g * jax.random.normal(keys[0], (n, n), float) / jnp.sqrt(n)
    w, m = (_unit(jax.random.normal(k, (n,), float)) for k in keys[1:])
    return bulk, w, m


@eqx.filter_jit
def _unseen(network: FiniteNetwork) -> jax.Array:
    """The direction of w beside `B m` and `B B^T B m`."""
    solve, transposed = network.solves()
    image = solve(network.m)
    basis, _ = jnp.linalg.qr(jnp.stack([image, solve(transposed(image))], axis=1))
    return _unit(network.w - basis @ (basis.T @ network.w))


def _check_stable(bulk: np.ndarray) -> None:
    """Refuse connectivity of which the activity runs away.

    Raises:
        ValueError: with the eigenvalue.
    """
    # No eigenvalue has a larger real part than the symmetric part of the matrix, which is faster to find.
    if np.linalg.eigvalsh((bulk + bulk.T) / 2)[-1] < 1:
        return
    largest = np.linalg.eigvals(bulk).real.max()
    if largest >= 1:
        raise ValueError(
            f"bulk must have all eigenvalues below 1 in real part, or the linear network has no stable fixed point to "
            f"read; the largest is {largest:.4g}. Draw another W0 (key), a larger one, or use a smaller g."
        )


def _unit(vector: jax.Array) -> jax.Array:
    return vector / jnp.linalg.norm(vector)


def as_strength(g: ArrayLike) -> jax.Array:
    """`g` as an array, checked where it is known.

    Raises:
        ValueError: if it is out of range.
    """
    array = scalar(g, "g", STRENGTH, 0.0, open_low=False)
    # Inside jit even a known number is a traced array.
    if is_traced(array):
        return later(array, lambda x: x < 1).astype(float)
    if float(np.asarray(array)) >= 1:
        raise ValueError(
            f"g must be {STRENGTH}, got {float(np.asarray(array)):g}: the fixed point that this task reads is then not "
            "reached. Nonlinear networks can be trained there, at full N."
        )
    return array.astype(float)


def _twice(values: jax.Array) -> jax.Array:
    return jnp.concatenate([values, values])
