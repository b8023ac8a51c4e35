"""Trials: the same task by backpropagation through a trial of finite length, as published."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import count, is_traced, scalar
from overlap_learning.learning.outcomes import RESULTS, LearningError, is_one_of
from overlap_learning.random_connectivity.network import FiniteNetwork
from overlap_learning.studies.random_connectivity.learning import check_target


class TrialLearning(NamedTuple):
    """How a network learns in trials of finite length; S saved points, each before the step that follows it.

    Attributes:
        time: learning time in units of `1 / beta^2`, shape [S].
        output: z at the end of a trial, shape [S].
        loss: half the squared error, mean over the last steps of a trial, shape [S].
        gradient_norm: `|dL/dW|`, shape [S].
        change: Delta W at the end, shape [N, N].
        trial: z(t) of the trained network, shape [T].
        result: how learning ended.
    """

    time: jax.Array
    output: jax.Array
    loss: jax.Array
    gradient_norm: jax.Array
    change: jax.Array
    trial: jax.Array
    result: RESULTS


def trial_learning(
    network: FiniteNetwork,
    target: ArrayLike,
    learning_rate: ArrayLike,
    n_steps: int,
    *,
    duration: float = 101.0,
    onset: float = 1.0,
    window: float = 1.0,
    dt: float = 0.5,
    throw: bool = True,
) -> TrialLearning:
    """Gradient descent of all N^2 weights by backpropagation through time.

    In Euler steps::

        h <- h + dt (-h + W h + sqrt(N) m u),   z = w^T h / sqrt(N),   L = mean of (zhat - z)^2 / 2 over the last steps

    from h = 0, with u = 0 until the onset and 1 after it; z is read after each step. Long trials learn as
    `gradient_descent` does at the fixed point, unless a trained W has an eigenvalue close to 1.

    Args:
        network: the network.
        target: zhat.
        learning_rate: eta.
        n_steps: number of steps of learning.
        duration: of a trial, in neuronal time constants.
        onset: of the input.
        window: at the end of the trial that the loss is read in.
        dt: the Euler step.
        throw: raise an error if learning diverges; False: return the last good state, repeated to the end, with the
            result code.

    Returns:
        A `TrialLearning` with `n_steps + 1` points.

    Raises:
        ValueError: if an argument is out of range.
        LearningError: if loss or gradient are not finite, and throw.

    Source: Schuessler et al. 2020, section 3; the settings are those of the authors' program.

    Examples:
        >>> study = ol.studies.random_connectivity
        >>> network = study.FiniteNetwork.sample(0.3, 20, key=jax.random.key(0))
        >>> learned = study.trial_learning(network, 0.5, 0.05, 100, duration=11.0)
        >>> round(float(learned.output[-1]), 2)
        0.5
    """
    target = check_target(target)
    rate = scalar(learning_rate, "learning_rate", "a positive number", 0.0)
    dt = float(scalar(dt, "dt", "the Euler step, between 0 and 1", 0.0, 1.0))
    n = count(n_steps, "n_steps")
    steps, silent, read = (int(x / dt) for x in (duration, onset, window))
    if not 0 <= silent < steps or not 1 <= read <= steps:
        raise ValueError(
            "a trial needs 0 <= onset < duration and dt <= window <= duration, got "
            f"onset {onset:g}, window {window:g}, duration {duration:g}, dt {dt:g}."
        )
    drive = (jnp.arange(steps) >= silent).astype(float)
    learned = _train(network, target, rate, n, drive, read, jnp.asarray(dt))
    if throw and not is_traced(learned.result) and not np.all(is_one_of(learned.result, RESULTS.successful)):
        raise LearningError(f"trial_learning: {RESULTS[learned.result]}", learned)
    return learned


@eqx.filter_jit
def _train(
    network: FiniteNetwork, target: jax.Array, rate: jax.Array, n: int, drive: jax.Array, read: int, dt: jax.Array
) -> TrialLearning:
    size = jnp.sqrt(network.w.size)

    def trial(weights, kicks):
        def step(h, now):
            u, kick = now
            new = h + dt * (-h + weights @ h + kick + size * network.m * u)
            return new, (h, network.w @ new / size)

        _, (states, outputs) = jax.lax.scan(step, jnp.zeros_like(network.m), (drive, kicks))
        return jnp.mean(jnp.square(target - outputs[-read:])) / 2, (states, outputs)

    # The gradient of W, a sum of outer products over time, is one product of states with the gradients of kicks.
    silent = jnp.zeros((drive.size, network.w.size))
    slope = jax.value_and_grad(trial, argnums=1, has_aux=True)

    def step(state, _):
        weights, last, is_good = state
        (loss, (states, outputs)), pulls = slope(weights, silent)
        gradient = pulls.T @ states
        norm = jnp.linalg.norm(gradient)
        is_good = is_good & jnp.isfinite(loss) & jnp.isfinite(norm)
        new, last = jnp.where(is_good, weights - rate * gradient, last), jnp.where(is_good, weights, last)
        return (new, last, is_good), (outputs[-1], loss, norm, is_good)

    start = (network.bulk, network.bulk, jnp.array(True))
    (_, weights, _), (*saved, is_good) = jax.lax.scan(step, start, length=n + 1)
    at = jnp.minimum(jnp.arange(n + 1), jnp.sum(is_good) - 1)
    output, loss, norm = (values[at] for values in saved)
    _, (_, outputs) = trial(weights, silent)
    result = RESULTS.where(jnp.all(is_good), RESULTS.successful, RESULTS.diverged)
    return TrialLearning(rate * network.beta**2 * at, output, loss, norm, weights - network.bulk, outputs, result)
