"""Flow: gradient flow of a chain, without the stiffness that the loss has once it is nearly zero."""

from typing import Any, NamedTuple, cast

import diffrax
import jax
import jax.numpy as jnp

from overlap_learning.learning.outcomes import RESULTS
from overlap_learning.random_connectivity.chain import Chain

MAX_STEPS = 20_000


class Points(NamedTuple):
    """Saved points of learning; the first axis of each array is that of the points.

    Attributes:
        time: learning time in units of `1 / beta^2`.
        error: `target - z`.
        change: Delta W in the bases of the chain, shape [S, length, length].
        resolvent: `(I - W0 - Delta W)^-1` in them.
        path: length of the way that Delta W has gone, `int |dDelta W|`.
    """

    time: jax.Array
    error: jax.Array
    change: jax.Array
    resolvent: jax.Array
    path: jax.Array

    @property
    def truncation(self) -> jax.Array:
        """The largest entry of Delta W in the last two vectors of the chain, by which later ones are smaller still."""
        size = jnp.abs(self.change)
        return jnp.maximum(jnp.max(size[..., -2:, :]), jnp.max(size[..., :, -2:]))

    def curvature(self, chain: Chain) -> jax.Array:
        """`|dz/dW|^2 = |p|^2 |q|^2`: the error falls at this rate, and at the end it is the curvature of the loss."""
        p, q = probes(self.resolvent, chain)
        return jnp.sum(p**2, -1) * jnp.sum(q**2, -1)


def probes(resolvent: jax.Array, chain: Chain) -> tuple[jax.Array, jax.Array]:
    """`p = R^T w` and `q = R m`, whose outer product is the gradient of the output."""
    return chain.w @ resolvent, resolvent @ chain.m


def flow(
    chain: Chain, target: jax.Array, at: jax.Array, *, rtol: float = 1e-13, by_error: bool = False
) -> tuple[Points, RESULTS]:
    """Gradient flow of `L = (target - z)^2 / 2` in W from `Delta W = 0`, saved at given times.

    With `p = R^T w`, `q = R m`::

        dDelta W/dtau = (target - z) p q^T,   dR/dtau = (target - z) R p q^T R

    The error is followed as `(target - z(0)) exp(-l)`, `dl/dtau = |p|^2 |q|^2`, so that it never decays faster than the
    solver can step and keeps its digits however small it is.

    Args:
        chain: the network.
        target: the output to be learned.
        at: increasing times in units of `1 / beta^2`, from 0 on; or, by error, values of l.
        rtol: relative tolerance of a step of the solver; the absolute one is a tenth of it.
        by_error: save at the errors `(target - z(0)) exp(-l)`, whenever they are reached.

    Returns:
        The points, and how the solver ended; points that it did not reach repeat the last one that it did.

    Source: Schuessler et al. 2020, eq. 6.
    """
    first = target - chain.w @ chain.resolvent @ chain.m

    def velocity(at, state: Any, _):
        _, decay, _, resolvent, _ = state
        p, q = probes(resolvent, chain)
        rate = (p @ p) * (q @ q)
        error = first * jnp.exp(-decay)
        moved = (
            chain.unit,
            rate,
            error * jnp.outer(p, q),
            error * jnp.outer(resolvent @ p, q @ resolvent),
            jnp.abs(error) * jnp.sqrt(rate),
        )
        return jax.tree.map(lambda x: x / (rate if by_error else chain.unit), moved)

    zero = jnp.zeros(())
    start = (zero, zero, jnp.zeros_like(chain.resolvent), chain.resolvent, zero)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        diffrax.Dopri8(),
        t0=0.0,
        t1=at[-1],
        dt0=None,
        y0=start,
        saveat=diffrax.SaveAt(ts=at, t0=True),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=0.1 * rtol),
        max_steps=MAX_STEPS,
        throw=False,
    )
    codes = diffrax.RESULTS
    result = RESULTS.where(solution.result == codes.successful, RESULTS.successful, RESULTS.solver_failed)
    result = RESULTS.where(solution.result == codes.max_steps_reached, RESULTS.max_steps_reached, result)
    # Points that were not reached hold inf; the first is the start.
    n_reached = jnp.sum(jnp.isfinite(cast(jax.Array, solution.ts)))
    kept = jnp.minimum(jnp.arange(1, at.size + 1), n_reached - 1)
    time, decay, change, resolvent, path = jax.tree.map(lambda values: values[kept], cast(Any, solution.ys))
    return Points(time, first * jnp.exp(-decay), change, resolvent, path), result
