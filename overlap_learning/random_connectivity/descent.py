"""Descent: gradient descent of a chain, step by step as a network of any size takes it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from overlap_learning.learning.outcomes import RESULTS
from overlap_learning.random_connectivity.chain import Chain
from overlap_learning.random_connectivity.flow import Points, probes


class _State(NamedTuple):
    change: jax.Array
    resolvent: jax.Array
    path: jax.Array
    n_steps: jax.Array
    is_stable: jax.Array


def descend(chain: Chain, target: jax.Array, learning_rate: jax.Array, n_steps: int) -> tuple[Points, RESULTS]:
    """Gradient descent of `L = (target - z)^2 / 2` in W.

    A step changes the inverse by a matrix of rank one::

        Delta W <- Delta W + c p q^T,   R <- R + c R p q^T R / (1 - c q^T R p),   c = eta (target - z)

    Learning stops at a step that would put a real eigenvalue of W beyond 1, where activity leaves the fixed point, and
    at one that is not finite: the points that follow repeat the last good one.

    Args:
        chain: the network.
        target: the output to be learned.
        learning_rate: eta.
        n_steps: number of steps.

    Returns:
        The points 0 to n_steps, and how descent ended.

    Source: Schuessler et al. 2020, section 3; Sherman & Morrison 1950.
    """

    def error(resolvent):
        return target - chain.w @ resolvent @ chain.m

    def step(state: _State, _):
        p, q = probes(state.resolvent, chain)
        c = learning_rate * error(state.resolvent)
        crossing = 1 - c * (q @ state.resolvent @ p)
        moved = c * jnp.outer(p, q)
        resolvent = state.resolvent + c / crossing * jnp.outer(state.resolvent @ p, q @ state.resolvent)
        path = state.path + jnp.abs(c) * jnp.linalg.norm(p) * jnp.linalg.norm(q)
        is_stable = state.is_stable & (crossing > 0) & jnp.all(jnp.isfinite(resolvent))
        moved = _State(state.change + moved, resolvent, path, state.n_steps + 1, is_stable)
        new = jax.tree.map(lambda a, b: jnp.where(is_stable, a, b), moved, state)._replace(is_stable=is_stable)
        return new, new

    zero = jnp.zeros(())
    start = _State(jnp.zeros_like(chain.resolvent), chain.resolvent, zero, jnp.array(0), jnp.array(True))
    _, states = jax.lax.scan(step, start, length=n_steps)
    states: _State = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, states)
    time = chain.unit * learning_rate * states.n_steps
    result = RESULTS.where(states.is_stable[-1], RESULTS.successful, RESULTS.diverged)
    return Points(time, jax.vmap(error)(states.resolvent), states.change, states.resolvent, states.path), result
