"""Convergence: how fast the output is learned, by how large a change, and what it owes to the bulk."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import check_key, is_traced, require_float64, scalar
from overlap_learning.learning.outcomes import RESULTS, LearningError, is_one_of
from overlap_learning.random_connectivity.chain import Chain
from overlap_learning.random_connectivity.network import AbstractNetwork, FiniteNetwork, as_strength
from overlap_learning.studies.random_connectivity.learning import (
    FixedPointLearning,
    as_network,
    check_target,
    ends,
    reduced,
)


class Convergence(NamedTuple):
    """How learning converges.

    Attributes:
        time: at which the loss is a share of what it began with, in units of `1 / beta^2`.
        norm: `|Delta W|` at the end of learning.
        gradient: `|dL/dW|`, mean over learning time until `time`.
        shuffled_loss: of `W0' + Delta W`, with another W0 of the same law in the place of the first.
        curvature: of the loss at the end, `|dz/dW|^2`.
        error: estimated error of the exact values: the largest entry of Delta W in the last two vectors of the chain.
        result: how the solver ended.
    """

    time: jax.Array
    norm: jax.Array
    gradient: jax.Array
    shuffled_loss: jax.Array
    curvature: jax.Array
    error: jax.Array
    result: RESULTS

    @property
    def learning_rate_limit(self) -> jax.Array:
        """Above this learning rate, `2 / curvature`, gradient descent can't stay at the solution."""
        return 2 / self.curvature


def convergence(
    g: ArrayLike | AbstractNetwork,
    target: ArrayLike,
    order: int | None = None,
    *,
    share: ArrayLike = 0.05,
    chain_length: int | None = None,
    throw: bool = True,
) -> Convergence:
    """Time, norm of the change, gradient and shuffled loss: the four panels of the published Fig. 4.

    To first order learning is a straight line to the target::

        tau = 1 / beta^2,   |Delta W| = zhat / beta,   |dL/dW| = zhat beta,   L_shuffled = g^4 (2 - g^2)^2 zhat^2 / 2

    Exactly, the change of W is followed to the end of learning. A shuffled W0 is independent of all else, so that for N
    to infinity only `w^T (I - Delta W)^-1 m` is left of the output.

    Args:
        g: strength of W0, `0 <= g < 1`, for N to infinity; or one network, `FiniteNetwork`. Its shuffled loss is that
            of the mean output over shuffles (one of them: `shuffled_loss`).
        target: zhat.
        order: 1: the published prediction; None: exact.
        share: of the first loss, at which learning has converged; the first order is that of reaching the target.
        chain_length: number of Krylov vectors; None: 16, and more if their error is above 1e-10.
        throw: raise an error if the solver fails; False: return its last state, with the result code.

    Returns:
        A `Convergence`.

    Raises:
        ValueError: if an argument is out of range.
        LearningError: if the solver failed, and throw.
        RuntimeError: if jax is not in 64-bit mode.

    Source: Schuessler et al. 2020, section 3 and Fig. 4; theory page, section 9.

    Examples:
        >>> study = ol.studies.random_connectivity
        >>> exact, first = (study.convergence(0.6, 0.5, order) for order in (None, 1))
        >>> [round(float(value), 4) for value in (exact.norm, first.norm)]
        [0.2558, 0.32]
    """
    require_float64("convergence")
    target = check_target(target)
    share = scalar(share, "share", "a share of the first loss, between 0 and 1", 0.0, 1.0)
    if order is None:
        outcome, _ = reduced(as_network(g), chain_length, lambda chain: _converged(chain, target, share))
        if throw and not is_traced(outcome.result) and not np.all(is_one_of(outcome.result, RESULTS.successful)):
            raise LearningError(f"convergence to {float(target):g}: {RESULTS[outcome.result]}", outcome)
        return outcome
    if order != 1 or isinstance(g, AbstractNetwork):
        raise ValueError(f"order must be 1 (published, for N to infinity) or None (exact), got {order!r} for {g!r}.")
    g = as_strength(g)
    beta = 1 / ((1 - g) * (1 + g))
    size = jnp.abs(target)
    loss = jnp.square(g**2 * (2 - g**2) * target) / 2
    return Convergence(jnp.ones(()), size / beta, size * beta, loss, beta**2, jnp.zeros(()), RESULTS.successful)


def shuffled_loss(solution: FixedPointLearning, key: jax.Array, at: int = -1) -> jax.Array:
    """The loss of a finite network with the entries of its W0 shuffled and its Delta W kept.

    Args:
        solution: the learning of a `FiniteNetwork`.
        key: a jax random key.
        at: the number of the saved point.

    Raises:
        ValueError: if it is the learning of no such network.

    Source: Schuessler et al. 2020, Fig. 4d.

    Examples:
        >>> study = ol.studies.random_connectivity
        >>> network = study.FiniteNetwork.sample(0.6, 40, key=jax.random.key(0))
        >>> learned = study.fixed_point_learning(network, 0.5, jnp.linspace(0, 3, 4))
        >>> bool(study.shuffled_loss(learned, jax.random.key(1)) > learned.loss[-1])
        True
    """
    check_key(key, "shuffled_loss")
    learned = solution.connectivity(at)
    assert solution.bases is not None
    network = solution.bases.network
    assert isinstance(network, FiniteNetwork)
    # On the host: XLA sorts a million random numbers in seconds on a CPU.
    random = np.random.default_rng(np.ravel(jax.random.key_data(key)))
    bulk = np.asarray(network.bulk)
    weights = np.asarray(learned) - bulk + random.permutation(bulk.ravel()).reshape(bulk.shape)
    output = np.asarray(network.w) @ np.linalg.solve(np.eye(len(bulk)) - weights, np.asarray(network.m))
    return jnp.square(solution.target - output) / 2


@eqx.filter_jit
def _converged(chain: Chain, target: jax.Array, share: jax.Array) -> Convergence:
    points, result = ends(chain, target, -jnp.log(share) / 2)
    change, time = points.change[-1], points.time[0]
    loss = jnp.square(target - _without_correlation(chain, change)) / 2
    gradient = points.path[0] / (time / chain.unit)
    curvature = points.curvature(chain)[-1]
    return Convergence(time, jnp.linalg.norm(change), gradient, loss, curvature, points.truncation, result)


def _without_correlation(chain: Chain, change: jax.Array) -> jax.Array:
    """`w^T (I - Delta W)^-1 m`."""
    within = jnp.linalg.solve(jnp.eye(chain.w.size) - chain.overlap @ change, chain.overlap @ chain.m)
    return chain.w @ chain.overlap @ chain.m + chain.w @ chain.overlap @ change @ within
