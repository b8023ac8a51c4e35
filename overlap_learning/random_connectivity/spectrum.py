"""Spectrum: the singular values of `B = (I - W0)^-1` of infinitely many neurons, in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp


class Spectrum(eqx.Module):
    """The law of the singular values of `B = (I - W0)^-1`, W0 i.i.d. with variance `g^2 / N`, N to infinity.

    The moments `m(y) = sum_k c_k y^k`, `c_k = tr (B B^T)^(k+1) / N`, obey `m = h (1 + y m h)`, `h = 1 + g^2 m`. On the
    support of the law `h = r exp(i a)` is complex, and `y = 1 / lambda` real where, with `r = exp(u) / sqrt(1 - g^2)`::

        2 cos a = sqrt(1 - g^2) cosh u + sqrt(1 + (1 - g^2) sinh(u)^2),     lambda = r^2 (2 r cos a - 1),

    with u from -u0 to u0, `sinh u0 = g sqrt(8 + g^2) / (4 sqrt(1 - g^2))`, and the density of lambda is
    `r sin(a) / (pi g^2 lambda^2)`. All are smooth in u, so that quadrature at Chebyshev nodes converges exponentially.

    Left and right singular vectors of B overlap. With `(mu - W0)^-1` between them it is by
    `sqrt(lambda) mu / |1 + (mu - 1) h|^2` on average, `sqrt(lambda)` times the imaginary part of
    `(h - 1) / (1 + (mu - 1) h)` over that of h. Without it the overlap is `sqrt(lambda) / r^2`, the limit of mu times
    that.

    Args:
        g: strength of W0, `0 <= g < 1`.
        n_nodes: of the quadrature. 64 give rounding up to g = 0.99.

    Source: own derivation (theory page, section 9); c_0 is beta of Schuessler et al. 2020, eq. 12.
    """

    squares: jax.Array
    weights: jax.Array
    modulus: jax.Array
    cosine: jax.Array

    def __init__(self, g: jax.Array, n_nodes: int = 64):
        angle = jnp.pi * jnp.arange(1, n_nodes + 1) / (n_nodes + 1)
        # In factors, so that g near 1 loses no digits.
        rest = (1 - g) * (1 + g)
        root = jnp.sqrt(rest)
        edge = jnp.arcsinh(g * jnp.sqrt(8 + g**2) / (4 * root))
        u = edge * jnp.cos(angle)
        cosh, sinh = jnp.cosh(u), jnp.sinh(u)
        self.modulus = r = jnp.exp(u) / root
        self.cosine = c = (root * cosh + jnp.sqrt(1 + rest * sinh**2)) / 2
        self.squares = r**2 * (2 * r * c - 1)
        slope = 2 * self.squares + 2 * r**3 * (c + root * c * sinh / (2 * c - root * cosh))
        # sin(a) over g sin(angle), up to a factor: finite at g = 0, where the law is a point.
        sine = jnp.sqrt((1 + c) * _sinhc((edge + u) / 2) * _sinhc((edge - u) / 2) / (1 + c - root * cosh))
        weights = r * slope / self.squares**2 * sine * jnp.sin(angle) ** 2
        self.weights = weights / jnp.sum(weights)

    def moments(self, n: int) -> jax.Array:
        """The first moments `c_k = tr (B B^T)^(k+1) / N`, shape [n]: beta, beta^4, ..."""
        return jnp.sum(self.weights * self.squares ** jnp.arange(1, n + 1)[:, None], axis=1)

    def overlap(self, mu: jax.Array | float | None = None) -> jax.Array:
        """Average overlap of left and right singular vectors, with `(mu - W0)^-1` between them; None: without it.

        Args:
            mu: outside the bulk, |mu| > g; may be complex.
        """
        strength = jnp.sqrt(self.squares)
        if mu is None:
            return strength / self.modulus**2
        mu = jnp.asarray(mu)
        return strength * mu / (1 + 2 * (mu - 1) * self.modulus * self.cosine + ((mu - 1) * self.modulus) ** 2)


def _sinhc(x: jax.Array) -> jax.Array:
    """`sinh(x) / x`, smooth at 0."""
    small = jnp.abs(x) < 1e-4
    safe = jnp.where(small, 1.0, x)
    return jnp.where(small, 1 + x**2 / 6, jnp.sinh(safe) / safe)
