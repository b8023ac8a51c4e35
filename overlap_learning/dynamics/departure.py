"""Departure: how neurons leave a Gaussian theory while it learns, in a few long steps."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from overlap_learning.checks import is_traced
from overlap_learning.learning.compiled import compiled
from overlap_learning.learning.record import Record
from overlap_learning.learning.rules import AbstractRule
from overlap_learning.learning.trials import are_drawn
from overlap_learning.learning.trust import BESIDE
from overlap_learning.neurons.arrays import Neurons
from overlap_learning.neurons.learner import NeuronLearner
from overlap_learning.tasks.task import Task

#: Long steps, in which a departure is followed.
N_CYCLES = 7
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
    decay = cast(Any, rule).weight_decay
    return _followed(learner, spanning, decay, task, record.time, record.saved["transfer"])


@compiled
def _followed(
    learner: NeuronLearner,
    spanning: jax.Array,
    decay: jax.Array,
    task: Task,
    time: jax.Array,
    transfer: jax.Array,
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Overlaps and losses of neurons as they learn, and in the theory, at the saved points."""
    size = learner.model.layout.size
    kept = dataclasses.replace(learner, kept=jnp.zeros(()))
    # Points that were not reached are where it ended.
    known = jnp.where(jnp.isfinite(time), time, jnp.nanmax(time))
    ends = jnp.linspace(0.0, known[-1], N_CYCLES + 1)
    duration = known[-1] / N_CYCLES
    middles = (ends[1:] + ends[:-1]) / 2
    seen = jnp.concatenate([ends[:1], middles, ends[-1:]])
    way = _interpolated(seen, known, transfer.reshape(-1, len(spanning), *2 * spanning.shape[-1:]))

    def at(transfer):
        return learner.model.free((spanning @ transfer)[..., -size:].reshape(-1, size))

    def gram(vectors):
        return learner.observe(Neurons(vectors))["gram"]

    def seen_at(vectors):
        return gram(vectors), learner.loss(Neurons(vectors), task)

    def drift(vectors, learner=learner):
        value, slope = learner.gradient(Neurons(vectors), task)
        return value, slope.vectors, -(slope.vectors + decay * vectors) * learner.rates.vectors

    def long_step(carry, now):
        delta, direction = carry
        transfer, n_iterations = now
        base = at(transfer)
        loss_there, _, pulled = drift(base, kept)
        loss, slope, first = drift(base + delta)

        def turned(_, found):
            direction = found[0] / _norm(found[0])
            nearby = NEARBY * _norm(base)
            there = (drift(base + delta + nearby * direction)[2] - first) / nearby
            return there, _norm(there)

        direction, curvature = lax.fori_loop(0, n_iterations, turned, (direction, jnp.zeros(())))

        def moved(delta):
            return duration * (drift(base + delta)[2] - pulled)

        end = _stepped(moved, delta, duration * (first - pulled), _n_stages(MARGIN * curvature * duration))
        # Half of the step is done in its middle, which is where the theory is.
        half = (end - delta) / 2
        loss = loss + jnp.sum(learner.weights[:, None] * slope * half)
        return (end, direction), ((gram(base + delta + half), loss), (gram(base), loss_there))

    start, end = at(way[0]), at(way[-1])
    direction = jax.random.normal(jax.random.key(0), start.shape)
    n_iterations = jnp.full(N_CYCLES, LATER).at[0].set(FIRST)
    within = (way[1:-1], n_iterations)
    (delta, _), within = lax.scan(long_step, (jnp.zeros_like(start), direction), within)

    before = seen_at(start)

    def course(within: Any, last: jax.Array) -> dict[str, jax.Array]:
        edges = zip(before, within, seen_at(last), strict=True)
        parts = (jnp.concatenate([first[None], between, last[None]]) for first, between, last in edges)
        return {name: _interpolated(time, seen, part) for name, part in zip(BESIDE, parts, strict=True)}

    return course(within[0], end + delta), course(within[1], end)


def _stepped(
    moved: Callable[[jax.Array], jax.Array], start: jax.Array, first: jax.Array, n_stages: jax.Array
) -> jax.Array:
    """The end of a long step.

    Args:
        moved: the duration times the velocity.
        start: where it begins.
        first: what `moved` is there.
        n_stages: how many times that is asked for, with the first.
    """
    at, slope = _shape(n_stages)

    def stage(_, now):
        last, older, t_last, t_older = now
        t = 2 * at * t_last - t_older
        by_last, by_older, by_moved = 2 * at * t_last / t, -t_older / t, 2 * slope * t_last / t
        return by_last * last + by_older * older + by_moved * moved(last), last, t, t_last

    # The polynomials T_1 = w0 and T_0 = 1 at w0, by which stages are divided.
    end, *_ = lax.fori_loop(1, n_stages, stage, (start + slope / at * first, start, at, jnp.ones(())))
    return end


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


def _interpolated(at: jax.Array, points: jax.Array, values: jax.Array) -> jax.Array:
    """Values at points, between them; not known where it is not known at which."""
    columns = values.reshape(len(points), -1).T.astype(float)
    found = jax.vmap(lambda column: jnp.interp(at, points, column))(columns)
    return jnp.where(jnp.isnan(at), jnp.nan, found).T.reshape(len(at), *values.shape[1:])
