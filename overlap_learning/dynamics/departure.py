"""Departure: how neurons leave a Gaussian theory while it learns, in a few long steps."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from overlap_learning.checks import in_numpy, is_traced
from overlap_learning.learning.compiled import compiled
from overlap_learning.learning.record import Record
from overlap_learning.learning.rules import AbstractRule
from overlap_learning.learning.trials import are_drawn
from overlap_learning.learning.trust import BESIDE
from overlap_learning.neurons.arrays import Neurons
from overlap_learning.neurons.learner import NeuronLearner
from overlap_learning.tasks.task import Task

#: Long steps, in which a departure is followed. Each takes the same share of the time and of the way of the theory
#: together: of the time alone, few would be where it moves, if it has long been at its end; of its way alone, too few
#: where neurons still move and it does not.
N_CYCLES = 12
#: Damping of the stages of a step. With the usual 0.05 what is stiff falls by a twentieth in one, and the loss, which
#: is made of that where it is small, is seen too large; with 0.5 it falls by a third, for an eighth more stages.
DAMPING = 0.5
#: Iterations for the largest curvature: before the first long step, and, from where they ended, before each other one.
FIRST, LATER = 3, 1
#: A curvature may be this many times as large as what they find, or as it was when a long step began.
MARGIN = 1.25
#: By how much positions are moved to see curvatures, as a part of their size: states are in single precision.
NEARBY = 1e-2
#: Stages of a long step, at least and at most.
STAGES = (3, 1000)


def can_be_long(rule: AbstractRule, task: Any, record: Record) -> bool:
    """Whether a departure can be followed in long steps: of a rule that drifts, where the theory's way is known.

    Not of random draws: what they pull is of the order of the drift where learning has ended.
    """
    if not rule.drifts or are_drawn(task, rule) or is_traced(record, rule, task):
        return False
    if "transfer" not in record.saved or record.time.ndim > 1:
        return False
    return int(np.sum(np.isfinite(np.asarray(record.time)))) > N_CYCLES


def departure(
    learner: NeuronLearner, spanning: Any, rule: AbstractRule, task: Task, record: Record
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What would be saved of neurons as they learn, and of the same ones in the theory, at its saved points.

    Neurons that follow the theory are at `V M`, M its transfer; those that follow their own gradient at `V M + delta`::

        d delta / dtau = -(g(V M + delta) - P g(V M) + weight_decay delta) rates

    with g the gradient that the neurons have, and P its part that is linear in them. The departure delta is small where
    M is not, so that M may stay at its middle for a long step, which is one of a Chebyshev method: with s stages it is
    stable up to a curvature of some `2 s^2` over its duration. How large that is is found by power iteration as it
    goes.

    Args:
        learner: the neurons, which knows what is linear in them.
        spanning: what transfer matrices act upon at the start, in each population, shape [P, n, r].
        rule: of learning.
        task: the trials, always the same.
        record: the course of the theory.

    Source: for the method, Verwer, Hundsdorfer & Sommeijer 1990, Numer. Math. 57, 157.
    """
    time, transfer = in_numpy((record.time, record.saved["transfer"]))
    # Points that were not reached are where it ended.
    known = np.where(np.isfinite(time), time, np.nanmax(time))
    size = spanning.shape[-1]
    transfer = transfer.reshape(-1, len(spanning), size, size)
    if known[0] > 0:
        # Of chosen times, before which learning began with no change.
        nothing = np.broadcast_to(np.eye(size), transfer[:1].shape)
        known, transfer = np.append(0.0, known), np.concatenate([nothing, transfer])
    ends = _ends(known, transfer)
    seen = np.concatenate([ends[:1], (ends[1:] + ends[:-1]) / 2, ends[-1:]])
    way = _interpolated(seen, known, transfer)
    # Not drawn in the program, in which that would take a third of what there is to compile.
    drawn = np.random.default_rng(0).standard_normal((spanning.shape[0] * spanning.shape[1], learner.model.layout.size))
    direction = learner.model.free(drawn)
    courses = _followed(learner, spanning, cast(Any, rule).weight_decay, task, np.diff(ends), way, direction)
    free, closed = (
        {name: _interpolated(time, seen, values) for name, values in zip(BESIDE, course, strict=True)}
        for course in in_numpy(courses)
    )
    return free, closed


@compiled
def _followed(
    learner: NeuronLearner,
    spanning: jax.Array,
    decay: jax.Array,
    task: Task,
    durations: jax.Array,
    way: jax.Array,
    direction: jax.Array,
) -> tuple[tuple[jax.Array, ...], ...]:
    """Overlaps and losses of neurons as they learn, and in the theory: at the start, the middle of each step, the end.

    Args:
        learner: the neurons.
        spanning: what transfer matrices act upon.
        decay: of the weights.
        task: the trials.
        durations: of the steps.
        way: the transfer of the theory where it is seen, for each population.
        direction: in which the largest curvature is looked for first.
    """
    size = learner.model.layout.size

    def at(transfer):
        return learner.model.free((spanning @ transfer)[..., -size:].reshape(-1, size))

    def gram(vectors):
        return learner.observe(Neurons(vectors))["gram"]

    def seen_at(vectors):
        return gram(vectors), learner.loss(Neurons(vectors), task)

    def drift(vectors, kept):
        value, slope = dataclasses.replace(learner, kept=kept).gradient(Neurons(vectors), task)
        return value, slope.vectors, -(slope.vectors + decay * vectors) * learner.rates.vectors

    def long_step(carry, now):
        delta, direction = carry
        transfer, duration, n_iterations = now
        base = at(transfer)
        step = _long_step(drift, base, delta, direction, duration, n_iterations)
        # Half of the step is done in its middle, which is where the theory is.
        half = (step.departure - delta) / 2
        loss = step.loss + jnp.sum(learner.weights[:, None] * step.slope * half)
        return (step.departure, step.direction), ((gram(base + delta + half), loss), (gram(base), step.loss_there))

    start, end = at(way[0]), at(way[-1])
    n_iterations = jnp.full(N_CYCLES, LATER).at[0].set(FIRST)
    within = (way[1:-1], durations, n_iterations)
    (delta, _), within = lax.scan(long_step, (jnp.zeros_like(start), direction), within)
    # One after another: each would be compiled on its own.
    edges = lax.map(seen_at, jnp.stack([start, end + delta, end]))

    def course(within: Any, last: int) -> tuple[jax.Array, ...]:
        parts = zip(edges, within, strict=True)
        return tuple(jnp.concatenate([edge[:1], between, edge[last][None]]) for edge, between in parts)

    return course(within[0], 1), course(within[1], 2)


class _Step(NamedTuple):
    """A long step, as far as it is done.

    Attributes:
        n_asked: how many times the gradient was asked for.
        at: the departure at which it is asked for next.
        pulled: the velocity of the theory.
        loss_there: the loss of the theory.
        first: the velocity where the step begins.
        loss: the loss there.
        slope: the gradient there.
        direction: of the largest curvature, as far as it is known.
        n_stages: of the step.
        departure: of the last stage.
        older: that before it.
        t: the polynomial of the last stage at w0, by which it is divided.
        t_older: that before it.
    """

    n_asked: jax.Array
    at: jax.Array
    pulled: jax.Array
    loss_there: jax.Array
    first: jax.Array
    loss: jax.Array
    slope: jax.Array
    direction: jax.Array
    n_stages: jax.Array
    departure: jax.Array
    older: jax.Array
    t: jax.Array
    t_older: jax.Array


def _long_step(
    drift: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]],
    base: jax.Array,
    delta: jax.Array,
    direction: jax.Array,
    duration: jax.Array,
    n_iterations: jax.Array,
) -> _Step:
    """A long step of a departure.

    What asks for the gradient takes turns in one loop: a program has one of it, and it is most of what is compiled.

    Args:
        drift: the loss, the gradient and the velocity at some vectors, and how much is kept of a gradient that leaves
            what is linear.
        base: the vectors in the theory.
        delta: the departure at the beginning.
        direction: of the largest curvature, as far as it is known.
        duration: of the step.
        n_iterations: for the largest curvature.
    """
    nearby = NEARBY * _norm(base)

    def there(step, value, slope, velocity):
        return step._replace(at=delta, pulled=velocity, loss_there=value)

    def here(step, value, slope, velocity):
        aside = delta + nearby * step.direction / _norm(step.direction)
        return step._replace(at=aside, first=velocity, loss=value, slope=slope)

    def turned(step, value, slope, velocity):
        turn = (velocity - step.first) / nearby
        curvature = _norm(turn)
        # The polynomials T_1 = w0 and T_0 = 1 at w0.
        n_stages = _n_stages(MARGIN * curvature * duration)
        w0, ratio = _shape(n_stages)
        departure = delta + ratio / w0 * duration * (step.first - step.pulled)
        is_last = step.n_asked == 2 + n_iterations
        return step._replace(
            at=jnp.where(is_last, departure, delta + nearby * turn / curvature), direction=turn, n_stages=n_stages,
            departure=departure, older=delta, t=w0, t_older=jnp.ones(()),
        )  # fmt: skip

    def staged(step, value, slope, velocity):
        w0, ratio = _shape(step.n_stages)
        t = 2 * w0 * step.t - step.t_older
        by_last, by_older, by_moved = 2 * w0 * step.t / t, -step.t_older / t, 2 * ratio * step.t / t
        moved = duration * (velocity - step.pulled)
        departure = by_last * step.departure + by_older * step.older + by_moved * moved
        return step._replace(at=departure, departure=departure, older=step.departure, t=t, t_older=step.t)

    def ask(step):
        value, slope, velocity = drift(base + step.at, jnp.where(step.n_asked == 0, 0.0, 1.0))
        turn = jnp.minimum(step.n_asked, jnp.where(step.n_asked < 2 + n_iterations, 2, 3))
        step = step._replace(n_asked=step.n_asked + 1)
        return lax.switch(turn, (there, here, turned, staged), step, value, slope, velocity)

    def goes_on(step):
        # The first stage asks for nothing new.
        return step.n_asked < 2 + n_iterations + step.n_stages - 1

    zero, zeros = jnp.zeros(()), jnp.zeros_like(base)
    start = _Step(jnp.zeros((), int), zeros, zeros, zero, zeros, zero, zeros, direction, jnp.full((), STAGES[0]), zeros,
                  zeros, zero, zero)  # fmt: skip
    return lax.while_loop(goes_on, ask, start)


def _ends(time: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    """Where long steps begin and end, of a theory that has this transfer at these times."""
    moved = np.linalg.norm(np.diff(transfer, axis=0).reshape(len(time) - 1, -1), axis=1)
    way = np.append(0.0, np.cumsum(moved))
    shares = time / (time[-1] or 1.0) + way / (way[-1] or 1.0)
    return np.interp(np.linspace(0.0, shares[-1], N_CYCLES + 1), shares, time)


def _norm(vectors: jax.Array) -> jax.Array:
    """The norm, and 1 of what is 0."""
    norm = jnp.linalg.norm(vectors)
    return jnp.where(norm > 0, norm, 1.0)


def _n_stages(reach: jax.Array) -> jax.Array:
    """The stages of a long step that is stable up to this curvature over its duration."""
    # By `_shape`, s stages reach (1 + w0) / w1, which is at least 2 s^2 tanh(x) / x with x = sqrt(2 DAMPING).
    x = math.sqrt(2 * DAMPING)
    least = jnp.sqrt(reach * x / (2 * math.tanh(x)))
    return jnp.clip(jnp.ceil(jnp.where(jnp.isfinite(least), least, 0.0)), *STAGES).astype(int)


def _shape(n_stages: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`w0` and `w1` of the polynomial `T_s(w0 + w1 x) / T_s(w0)` that a long step multiplies a mode by."""
    at = 1 + DAMPING / n_stages**2
    angle = jnp.arccosh(at)
    # T_s / T_s' at w0.
    return at, jnp.sinh(angle) / (n_stages * jnp.tanh(n_stages * angle))


def _interpolated(at: np.ndarray, points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values at points, between them; not known where it is not known at which."""
    after = np.clip(np.searchsorted(points, at), 1, len(points) - 1)
    gap = points[after] - points[after - 1]
    share = (at - points[after - 1]) / np.where(gap > 0, gap, 1.0)
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return (1 - share) * values[after - 1] + share * values[after]
