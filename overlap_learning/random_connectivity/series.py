"""Series: learning to third order in learning time, as published."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from overlap_learning.random_connectivity.chain import Chain
from overlap_learning.random_connectivity.flow import probes


class Series(NamedTuple):
    """Learning of infinitely many neurons up to an order in `t = beta^2 tau`; every array has the shape of t.

    Attributes:
        output: eq. 15.
        singular_values: of Delta W, the two that grow up to third order, shape [..., 2]; eq. 14.
        gradient: `|dL/dW|`, one order lower. Not published.
        curvature: `|dz/dW|^2`. Not published.
        eigenvalues: of Delta W, shape [..., 2]: `zhat^2 (t^2 - t^3) (1/2 +- 1/sqrt(3)) / beta`. Not published: the
            authors' program takes the trace of Delta W for its eigenvalue at second order, `zhat^2 t^2 / beta`, and
            has a coefficient of 3/4 for the third order of this trace, where it is 1.
    """

    output: jax.Array
    singular_values: jax.Array
    gradient: jax.Array
    curvature: jax.Array
    eigenvalues: jax.Array


def series(g: jax.Array, target: jax.Array, time: jax.Array, order: int) -> Series:
    """The expansion in learning time `t = beta^2 tau`.

    With `beta = 1 / (1 - g^2)`::

        z  = zhat (t - t^2/2 + (1 + 8 zhat^2 beta) t^3/6)
        s1 = zhat/beta (t - t^2/2 + (1 + 7/2 zhat^2 beta) t^3/6),   s2 = zhat^3 t^3/12

    The authors' program cuts the third order off where it passes the target; here it stays a polynomial.

    Args:
        g: strength of W0.
        target: zhat.
        time: t.
        order: 1, 2 or 3.

    Source: Schuessler et al. 2020, eqs. 12 to 15; the rest from the same expansion (theory page, section 9).
    """
    beta = 1 / ((1 - g) * (1 + g))
    powers = time[..., None] ** jnp.arange(4)
    strength = target**2 * beta

    def upto(highest, *coefficients):
        kept = [c if k <= highest else 0.0 for k, c in enumerate(coefficients)]
        return powers[..., : len(kept)] @ jnp.stack([jnp.asarray(c, float) for c in kept])

    first = upto(order, 0, 1, -1 / 2, (1 + 3.5 * strength) / 6)
    second = upto(order, 0, 0, 0, 1 / 12)
    moved = upto(order, 0, 0, 1, -1)[..., None]
    return Series(
        target * upto(order, 0, 1, -1 / 2, (1 + 8 * strength) / 6),
        jnp.abs(jnp.stack([target / beta * first, target**3 * second], axis=-1)),
        jnp.abs(target) * beta * upto(order - 1, 1, -1, (1 + 4 * strength) / 2),
        beta**2 * upto(order, 1, 0, 4 * strength, -4 * strength),
        target**2 / beta * moved * (0.5 + jnp.array([1, -1]) / jnp.sqrt(3)),
    )


def change(chain: Chain, target: jax.Array, time: jax.Array, order: int) -> jax.Array:
    """Delta W as `W1 tau + W2 tau^2/2 + W3 tau^3/6` in the bases of a chain, shape [..., n, n].

    Its terms are::

        W1 = zhat X1,  W2 = -zhat PQ X1 + zhat^2 X2,  W3 = zhat (PQ)^2 X1 - 3 zhat^2 PQ X2 + zhat^3 X3

    with `p = B^T w`, `q = B m`, `P = |p|^2`, `Q = |q|^2` and `X1 = p q^T`, `X2 = P B^T q q^T + Q p p^T B^T`,
    `X3 = PQ (2 B^T q p^T B^T + B^T B p q^T + p q^T B B^T)`. It is exact to its order where z and its second derivative
    are 0 at the start: for N to infinity, and for `FiniteNetwork.sample(..., exact=True)`.

    Args:
        chain: the network.
        target: zhat.
        time: `t = beta^2 tau`.
        order: 1, 2 or 3.

    Source: Schuessler et al. 2020, eqs. 7 to 11.
    """
    p, q = probes(chain.resolvent, chain)
    B, P, Q = chain.resolvent, p @ p, q @ q
    first = jnp.outer(p, q)
    second = P * jnp.outer(B.T @ q, q) + Q * jnp.outer(p, B @ p)
    third = P * Q * (2 * jnp.outer(B.T @ q, B @ p) + jnp.outer(B.T @ (B @ p), q) + jnp.outer(p, B @ (B.T @ q)))
    terms = (
        target * first,
        -target * P * Q * first + target**2 * second,
        target * (P * Q) ** 2 * first - 3 * target**2 * P * Q * second + target**3 * third,
    )
    tau = jnp.asarray(time)[..., None, None] / chain.unit
    scales = (tau, tau**2 / 2, tau**3 / 6)
    return jnp.sum(jnp.stack([term * scale for term, scale in zip(terms[:order], scales, strict=False)]), axis=0)
