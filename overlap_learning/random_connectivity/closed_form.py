"""Closed form: learning without a bulk, g = 0, where one quadrature is all that is left to do."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

#: Nodes of the quadrature over the logarithm of the error.
N_NODES = 96
#: Newton's method from below, on increasing concave functions, has converged long before.
N_ITERATIONS = 60


class Pair(NamedTuple):
    """A network without W0 at points of its learning: `Delta W = [w m] A [w m]^T`, with w and m orthonormal.

    With `x = A12 = tanh(eta)`::

        A11 = A22 = 1 - 1/cosh(eta),   A21 = eta - tanh(eta),   z = tanh(eta) / D,   D = 1 - eta tanh(eta)

    Attributes:
        eta: shape [S]; below 1.19968, where D is 0: an eigenvalue of W is 1 there, and z is infinite.
    """

    eta: jax.Array

    @property
    def margin(self) -> jax.Array:
        """D, shape [S]; `|dz/dW|^2 = 1 / D^4`."""
        return 1 - self.eta * jnp.tanh(self.eta)

    @property
    def output(self) -> jax.Array:
        """z, shape [S]."""
        return jnp.tanh(self.eta) / self.margin

    @property
    def entries(self) -> jax.Array:
        """A, shape [S, 2, 2]."""
        same = 1 - 1 / jnp.cosh(self.eta)
        x = jnp.tanh(self.eta)
        return jnp.stack([jnp.stack([same, x], -1), jnp.stack([self.eta - x, same], -1)], -2)


def pair_of(output: jax.Array) -> Pair:
    """The network that has this output.

    Args:
        output: z, shape [S].
    """
    # tanh(eta) = |z| D, by bisection to the last bit: the root is bracketed by 0 and the zero of D.
    size = jnp.abs(output)
    low, high = jnp.zeros_like(size), jnp.full_like(size, 1.2)

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        is_below = jnp.tanh(middle) < size * (1 - middle * jnp.tanh(middle))
        return jnp.where(is_below, middle, low), jnp.where(is_below, high, middle)

    low, high = jax.lax.fori_loop(0, N_ITERATIONS, halve, (low, high))
    return Pair(jnp.sign(output) * (low + high) / 2)


def elapsed(target: jax.Array, decay: jax.Array) -> jax.Array:
    """The time at which the error is `zhat exp(-l)`: `tau = int_0^l D^4 dl'`.

    Args:
        target: zhat.
        decay: l, shape [S].
    """
    nodes, weights = np.polynomial.legendre.leggauss(N_NODES)
    at = decay[:, None] * (nodes + 1) / 2
    return decay / 2 * (pair_of(-target * jnp.expm1(-at)).margin ** 4 @ weights)


def decay_at(target: jax.Array, time: jax.Array) -> jax.Array:
    """The logarithm l of `zhat / (zhat - z)` at times tau: the inverse of `elapsed`.

    Args:
        target: zhat.
        time: tau, shape [S].
    """

    def newton(_, decay):
        rate = pair_of(-target * jnp.expm1(-decay)).margin ** -4
        return decay + (time - elapsed(target, decay)) * rate

    # tau is at most l, and concave in it, so that every iterate is below the root.
    return jax.lax.fori_loop(0, N_ITERATIONS, newton, time)
