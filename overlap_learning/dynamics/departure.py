"""Departure: how neurons leave a Gaussian theory while it learns, in a few long steps."""

import dataclasses
import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from overlap_learning.checks import in_numpy, is_traced
from overlap_learning.learning.compiled import compiled
from overlap_learning.learning.record import Record
from overlap_learning.learning.rules import AbstractRule, GradientDescent
from overlap_learning.learning.trials import are_drawn
from overlap_learning.learning.trust import BESIDE
from overlap_learning.neurons.arrays import Neurons
from overlap_learning.neurons.learner import NeuronLearner

#: Long steps, in which a departure is followed.
N_CYCLES = 7
#: Damping of the stages of a step, as is usual for these methods.
DAMPING = 0.05


def can_be_long(rule: AbstractRule, task: Any, record: Record) -> bool:
    """Whether a departure can be followed in long steps: the way of the theory is known, and steps are small ones.

    Not of random draws, which long steps would leave out, of momentum, clipped gradients, nor of unknown numbers.
    """
    if not isinstance(rule, GradientDescent) or is_traced(record, rule, task) or record.time.ndim > 1:
        return False
    plain = rule.momentum is None and rule.clip_norm is None and not are_drawn(task, rule)
    return plain and "transfer" in record.saved and int(np.sum(np.isfinite(np.asarray(record.time)))) > N_CYCLES


def departure(learner: NeuronLearner, spanning: Any, rule: Any, task: Any, record: Record) -> list[dict[str, Any]]:
    """What would be saved of neurons as they learn, and of the same ones in the theory, at its saved points.

    Neurons that follow the theory are at `V M`, M its transfer; those that follow their own gradient at `V M + delta`::

        d delta / dtau = -(g(V M + delta) - P g(V M) + weight_decay delta) rates

    with g the gradient that the neurons have, and P its part that is linear in them. The departure delta is small where
    M is not, so that M may stay at its middle for a long step, which is one of a Chebyshev method: with s stages it is
    stable for s^2 learning steps, if each of those is.

    Args:
        learner: the neurons, which knows what is linear in them.
        spanning: what transfer matrices act upon at the start, in each population, shape [P, n, r].
        rule: of learning.
        task: the trials, always the same.
        record: the course of the theory.

    Source: for the method, Verwer, Hundsdorfer & Sommeijer 1990, Numer. Math. 57, 157.
    """
    # Loading it takes as long as a short run.
    from scipy.interpolate import PchipInterpolator

    time, step, transfer = in_numpy((record.time, cast(Any, record.step), record.saved["transfer"]))
    reached = np.isfinite(time)
    time, step, transfer = time[reached], step[reached], transfer[reached]
    ends = np.linspace(0, step[-1], N_CYCLES + 1)
    way = PchipInterpolator(step, transfer.reshape(len(step), *spanning.shape[::2], -1))
    durations = np.diff(PchipInterpolator(step, time)(ends))
    middles = (ends[1:] + ends[:-1]) / 2
    stages = _stages(_n_stages(step[-1] / N_CYCLES))
    found = _followed(learner, spanning, task, rule.weight_decay, way(middles), way(ends[-1]), durations, stages)
    seen = np.concatenate([ends[:1], middles, ends[-1:]])
    return [{name: _between(seen, array, record) for name, array in each.items()} for each in found]


@compiled
def _followed(
    learner: NeuronLearner,
    spanning: jax.Array,
    task: Any,
    weight_decay: jax.Array,
    middles: jax.Array,
    last: jax.Array,
    durations: jax.Array,
    coefficients: tuple[np.ndarray, ...],
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Overlaps and losses of neurons as they learn, and in the theory: at the start, in each long step, at the end."""
    size = learner.model.layout.size
    kept = dataclasses.replace(learner, kept=jnp.zeros(()))

    def at(transfer):
        return learner.model.free((spanning @ transfer)[..., -size:].reshape(-1, size))

    def gram(vectors):
        return learner.observe(Neurons(vectors))["gram"]

    def seen(vectors):
        return gram(vectors), learner.loss(Neurons(vectors), task)

    def long_step(delta, now):
        middle, duration = now
        base = at(middle)
        loss_there, pulled = kept.gradient(Neurons(base), task)

        def pull(delta):
            value, slope = learner.gradient(Neurons(base + delta), task)
            moved = slope.vectors - pulled.vectors + weight_decay * delta
            return value, slope.vectors, duration * moved * learner.rates.vectors

        def stage(both, weights):
            last, older = both
            by_last, by_older, by_slope = weights
            return (by_last * last + by_older * older - by_slope * pull(last)[2], last), None

        first, rest = coefficients
        loss, slope, moved = pull(delta)
        (end, _), _ = lax.scan(stage, (delta - first * moved, delta), rest)
        # Half of the step is done in its middle, which is where the theory is.
        half = (end - delta) / 2
        loss = loss + jnp.sum(learner.weights[:, None] * slope * half)
        return end, ((gram(base + delta + half), loss), (gram(base), loss_there))

    start, end = at(jnp.broadcast_to(jnp.eye(spanning.shape[-1]), last.shape)), at(last)
    delta, within = lax.scan(long_step, jnp.zeros_like(start), (middles, durations))

    def course(within: Any, end: jax.Array) -> dict[str, jax.Array]:
        parts = zip(seen(start), within, seen(end), strict=True)
        return dict(zip(BESIDE, (jnp.concatenate([a[None], b, c[None]]) for a, b, c in parts), strict=True))

    return course(within[0], end + delta), course(within[1], end)


def _n_stages(n_steps: float) -> int:
    """The stages of a long step that is stable where so many learning steps are, of which each may take `2 / kappa`."""
    return next(s for s in range(2, 10_000) if _reach(s) >= 2 * n_steps)


def _reach(n_stages: int) -> float:
    """The largest `duration x kappa` at which the stages are stable: for kappa the largest curvature."""
    at, slope = _shape(n_stages)
    return (1 + at) / slope


def _shape(n_stages: int) -> tuple[float, float]:
    """`w0` and `w1` of the polynomial `T_s(w0 + w1 x) / T_s(w0)` that a long step multiplies a mode by."""
    at = 1 + DAMPING / n_stages**2
    angle = np.arccosh(at)
    # T_s / T_s' at w0.
    return at, float(np.sinh(angle) / (n_stages * np.tanh(n_stages * angle)))


@functools.lru_cache
def _stages(n_stages: int) -> tuple[np.ndarray, np.ndarray]:
    """The share of the first stage, and for each further one those of the last, the one before it, and the slope."""
    at, slope = _shape(n_stages)
    inverse = 1 / np.cosh(np.arange(n_stages + 1) * np.arccosh(at))
    by_last = 2 * at * inverse[2:] / inverse[1:-1]
    by_older = -inverse[2:] / inverse[:-2]
    by_slope = 2 * slope * inverse[2:] / inverse[1:-1]
    return np.asarray(slope / at), np.stack([by_last, by_older, by_slope], axis=1)


def _between(at: np.ndarray, values: Any, record: Record) -> np.ndarray:
    """Values at some learning steps, at the saved points; NaN at those that were not reached."""
    values = np.asarray(values)
    steps = np.where(np.isfinite(np.asarray(record.time)), np.asarray(record.step), np.nan)
    columns = [np.interp(steps, at, column) for column in values.reshape(len(at), -1).T]
    return np.stack(columns, axis=-1).reshape(len(steps), *values.shape[1:])
