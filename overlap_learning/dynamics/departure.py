"""Departure: how neurons leave a Gaussian theory while it learns, in a few long steps."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from overlap_learning.checks import in_numpy, is_traced, namespace
from overlap_learning.dynamics.learners import AbstractGramLearner, MixtureLearner
from overlap_learning.dynamics.long_step import Answer, long_step
from overlap_learning.learning.compiled import compiled
from overlap_learning.learning.record import Record
from overlap_learning.learning.rules import AbstractRule, Drift
from overlap_learning.learning.trials import Trials
from overlap_learning.learning.trust import BESIDE
from overlap_learning.module import Module
from overlap_learning.neurons.arrays import Neurons
from overlap_learning.neurons.learner import NeuronLearner
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task

#: Long steps, in which a departure is followed. Each takes the same share of the time and of the way of the theory
#: together: of the time alone, few would be where it moves, if it has long been at its end; of its way alone, too few
#: where neurons still move and it does not.
N_CYCLES = 12
#: Saved points of the theory along which it is, where fewer than the steps were to be saved: the ends and the middles
#: of these; and so many times as many of a run that may stop before its end.
N_POINTS, IF_IT_STOPS = 2 * N_CYCLES + 1, 8
#: Iterations for the largest curvature: before the first long step, and, from where they ended, before each other one.
FIRST, LATER = 3, 1
#: Where each step draws its trials, a long one stands for at least so many steps; and it sees about so many trials,
#: the second number in long runs.
IF_DRAWN, DRAWN = 4, (32, 64)


def can_drift(rule: AbstractRule, task: Task | TaskStream) -> bool:
    """Whether long steps follow neurons under this rule: if it drifts.

    Minibatches drift as all trials do, a stream as some of its steps; not if each of them is clipped: where they
    conflict, the mean of what was clipped is smaller than the clipped mean. What noise draws is of the order of the
    drift where learning has ended.
    """
    if rule.drift is None or rule.label_noise is not None or rule.parameter_noise is not None:
        return False
    if isinstance(task, TaskStream) and (
        rule.drift.clip_norm is not None or cast(int, rule.n_steps) < IF_DRAWN * N_CYCLES
    ):
        return False
    return task.outline.state_noise is None


def followed_closely(rule: AbstractRule) -> tuple[AbstractRule, np.ndarray | None]:
    """The rule with as many saved points as long steps need, and which of them are its own; None: all."""
    times = 1 if rule.stop_loss is None else IF_IT_STOPS
    some = rule.finer(times * (N_CYCLES + 1))
    more = rule.finer(times * N_POINTS)
    return some if some[1] is None or more[1] is None else more


def is_known(record: Record) -> bool:
    """Whether the way of the theory is known closely enough; inside jit all points count as reached."""
    if "transfer" not in record.saved or record.time.ndim > 1:
        return False
    reached = len(record.time) if is_traced(record.time) else np.sum(np.isfinite(np.asarray(record.time)))
    return int(reached) > N_CYCLES


def departure(
    theory: AbstractGramLearner | MixtureLearner,
    learner: NeuronLearner,
    spanning: Any,
    rule: AbstractRule,
    trials: Trials,
    record: Record,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What would be saved of neurons as they learn, and of the same ones in the theory, at its saved points.

    Neurons that follow the theory are at `V M`, M its transfer; those that follow their own gradient at `V M + delta`::

        d delta / dtau = -(g(V M + delta) - P g(V M) + weight_decay delta) rates

    with g the gradient that the neurons have, and P its part that is linear in them. Few neurons have other outputs
    than the theory has, at which learning would not end where the theory does; so what is missing at `V M` is added to
    theirs. The departure delta is small where M is not, so that M may stay at its mean for a long step, which is one
    of a Chebyshev method: with s stages it is stable up to a curvature of some `2 s^2` over its duration. How large
    that is is found by power iteration as it goes.

    Args:
        theory: which learned.
        learner: the neurons, which knows what is linear in them.
        spanning: what transfer matrices act upon at the start, in each population, shape [P, n, r].
        rule: of learning.
        trials: what its steps draw.
        record: the course of the theory.

    Source: for the method, Verwer, Hundsdorfer & Sommeijer 1990, Numer. Math. 57, 157.
    """
    time, step, transfer = in_numpy((record.time, record.step, record.saved["transfer"]))
    xp = namespace(time, transfer)
    # A flow has no steps, and nothing that it remembers of them.
    step = xp.zeros_like(time) if step is None else step
    # Points that were not reached are where it ended.
    last = xp.sum(xp.isfinite(time)) - 1
    known, step, transfer = (each[xp.minimum(xp.arange(len(time)), last)] for each in (time, step, transfer))
    # Chosen times may be later ones, before which learning began with no change.
    nothing = xp.zeros_like(transfer[:1]) + xp.eye(transfer.shape[-1])
    known, step = (xp.concatenate([xp.zeros(1), each]) for each in (known, step))
    transfer = xp.concatenate([nothing, transfer])
    ends = _ends(known, transfer)
    seen = xp.concatenate([ends[:1], (ends[1:] + ends[:-1]) / 2, ends[-1:]])
    # Means, as what draws of minibatches do to M would pull on the neurons.
    between = _means(ends, known, transfer)
    way = xp.concatenate([transfer[:1], between, transfer[-1:]])
    drift = cast(Drift, rule.drift)
    passed = xp.interp(ends, known, step)
    inertia = drift.inertia(xp.diff(passed))
    # Not drawn in the program, in which that would take a third of what there is to compile.
    drawn = np.random.default_rng(0).standard_normal((spanning.shape[0] * spanning.shape[1], learner.model.layout.size))
    direction = learner.model.free(drawn)
    beside = _Beside(learner, spanning, drift, trials)
    steps = _drawn(trials.task, rule, passed)
    courses = _followed(theory, beside, xp.diff(ends), inertia, way, steps, direction)
    free, closed = (
        {name: _interpolated(time, seen, values) for name, values in zip(BESIDE, course, strict=True)}
        for course in in_numpy(courses)
    )
    if isinstance(trials.task, TaskStream):
        # On other trials than those on which the loss was saved, which may be many times as large: as a part of it.
        _, on_these = BESIDE
        there = closed[on_these]
        share = in_numpy(record.loss) / xp.where(there > 0, there, 1.0)
        free, closed = (course | {on_these: share * course[on_these]} for course in (free, closed))
    return free, closed


#: Inside vmap each small calculation would be a program of its own.
departure_in_one = compiled(departure)


class _There(NamedTuple):
    """What is known where the theory is.

    Attributes:
        trials: of a stream, a task of which every array has the draws as its first axis; None: they are fixed.
        activity: of the theory on them.
    """

    trials: Task | None
    activity: Any


class _Beside(Module):
    """Neurons beside a theory: on what, and how, they learn."""

    learner: NeuronLearner
    spanning: jax.Array
    drift: Drift
    trials: Trials

    def at(self, position: jax.Array) -> jax.Array:
        """The vectors, where the theory is."""
        model = self.learner.model
        moved = self.spanning @ position.reshape(-1, *position.shape[-2:])
        return model.free(moved[..., -model.layout.size :].reshape(-1, model.layout.size))

    def gram(self, vectors: jax.Array) -> jax.Array:
        return self.learner.observe(Neurons(vectors))["gram"]

    def activity(self, trials: Task | None, vectors: jax.Array) -> Any:
        return self.each(trials, lambda task: self.learner.activity(Neurons(vectors), task))

    def loss(self, trials: Task | None, activity: Any) -> jax.Array:
        """The mean over draws."""
        return jnp.mean(self.each(trials, lambda task, activity: task.loss(*activity), activity))

    def each(self, trials: Task | None, function: Callable[..., Any], *arguments: Any) -> Any:
        """A function of each draw of the trials, and of the arguments of each; fixed trials are one draw."""
        n_drawn = 1 if trials is None else None

        def one(task, *rest):
            return function(self.trials.task if task is None else task, *rest)

        return jax.vmap(one, axis_size=n_drawn)(trials, *arguments)

    def ask(self, there: _There, vectors: jax.Array, offset: Any, is_first: jax.Array) -> Answer:
        """What they say, who are at first where the theory is, of which the activity is known."""

        def loss(position):
            found = self.activity(there.trials, position.vectors)
            missing = lax.stop_gradient(_less(there.activity, found))
            added = jax.tree.map(lambda new, old: jnp.where(is_first, new, old), missing, offset)
            return self.loss(there.trials, _plus(found, added)), added

        position = Neurons(vectors)
        (value, offset), slope = jax.value_and_grad(loss, has_aux=True)(position)
        slope = dataclasses.replace(self.learner, kept=jnp.where(is_first, 0.0, 1.0)).scaled(slope)
        unclipped = dataclasses.replace(self.drift, clip_norm=None)
        velocity, steep = (drift(self.learner, position, slope).vectors for drift in (self.drift, unclipped))
        return Answer(value, slope.vectors, velocity, steep, offset)


@compiled
def _followed(
    theory: AbstractGramLearner | MixtureLearner,
    beside: _Beside,
    durations: jax.Array,
    inertia: tuple[jax.Array, jax.Array],
    way: jax.Array,
    steps: jax.Array,
    direction: jax.Array,
) -> tuple[tuple[jax.Array, ...], ...]:
    """Overlaps and losses of neurons as they learn, and in the theory: at the start, the middle of each step, the end.

    Args:
        theory: which learned.
        beside: the neurons.
        durations: of the steps.
        inertia: what momentum does in them, as parts of a change of velocity.
        way: the transfer of the theory where it is seen.
        steps: those whose trials are looked at there, shape [., n].
        direction: in which the largest curvature is looked for first.
    """
    weights = beside.learner.weights[:, None]

    def followed(carry, now):
        delta, velocity, direction = carry
        position, there, duration, (behind, left), n_iterations = now
        base = beside.at(position)
        # Half of what is remembered of the velocity is gone before the drift, and half after it.
        rest, drifting = behind * duration * velocity / 2, (1 - behind) * duration
        step = long_step(functools.partial(beside.ask, there), base, delta + rest, _nothing(there.activity),
                          direction, drifting, n_iterations)  # fmt: skip
        drifted = (step.departure - delta - rest) / jnp.where(drifting > 0, drifting, 1.0)
        after, velocity = step.departure + rest, drifted + left * (velocity - drifted)
        # Half of the step is done in its middle, which is where the theory is.
        middle = (delta + after) / 2
        loss = step.loss + jnp.sum(weights * step.slope * (middle - delta - rest))
        seen = (beside.gram(base + middle), loss), (beside.gram(base), step.loss_there)
        return (after, velocity, step.direction), seen

    start, end = beside.at(way[0]), beside.at(way[-1])
    # Drawn here and nowhere else, as that is a long program.
    trials = lax.map(jax.vmap(beside.trials.sample), steps) if isinstance(beside.trials.task, TaskStream) else None
    known = lax.map(lambda at: beside.each(at[0], functools.partial(theory.activity, at[1])), (trials, way))
    n_iterations = jnp.full(N_CYCLES, LATER).at[0].set(FIRST)
    nothing = jnp.zeros_like(start)
    there = _at(_There(trials, known), slice(1, -1))
    between = (way[1:-1], there, durations, inertia, n_iterations)
    (delta, _, _), (free, closed) = lax.scan(followed, (nothing, nothing, direction), between)
    # One after another: each would be compiled on its own.
    found = lax.map(functools.partial(beside.activity, _at(trials, -1)), jnp.stack([end, end + delta]))
    ended = _plus(_at(found, 1), _less(_at(known, -1), _at(found, 0)))
    activities = jax.tree.map(lambda *each: jnp.stack(each), _at(known, 0), ended, _at(known, -1))
    losses = lax.map(lambda at: beside.loss(*at), (_at(trials, jnp.array([0, -1, -1])), activities))
    edges = lax.map(beside.gram, jnp.stack([start, end + delta, end])), losses

    def course(within: Any, last: int) -> tuple[jax.Array, ...]:
        parts = zip(edges, within, strict=True)
        return tuple(jnp.concatenate([edge[:1], between, edge[last][None]]) for edge, between in parts)

    return course(free, 1), course(closed, 2)


def _ends(time: Any, transfer: Any) -> Any:
    """Where long steps begin and end, of a theory that has this transfer at these times."""
    xp = namespace(time, transfer)
    moved = xp.linalg.norm(xp.diff(transfer, axis=0).reshape(len(time) - 1, -1), axis=1)
    way = xp.concatenate([xp.zeros(1), xp.cumsum(moved)])
    # A run may have no time, or stay where it is.
    time_share, way_share = (each / xp.where(each[-1] > 0, each[-1], 1.0) for each in (time, way))
    shares = time_share + way_share
    return xp.interp(xp.linspace(0.0, 1.0, N_CYCLES + 1) * shares[-1], shares, time)


def _drawn(task: Task | TaskStream, rule: AbstractRule, ends: Any) -> Any:
    """The steps whose trials are looked at: at the start, in each long step between these ends, and at the end."""
    xp = namespace(ends)
    n_drawn = 1
    if isinstance(task, TaskStream):
        n_steps, n_trials = cast(int, rule.n_steps) // N_CYCLES, task.outline.n_trials
        few, many = (max(1, round(n_seen / n_trials)) for n_seen in DRAWN)
        n_drawn = min(max(few, n_steps // IF_DRAWN), many, n_steps)
    shares = (xp.arange(n_drawn) + 0.5) / n_drawn
    within = ends[:-1, None] + xp.diff(ends)[:, None] * shares
    edges = xp.zeros((1, n_drawn)) + ends[:1], xp.zeros((1, n_drawn)) + ends[-1:]
    return xp.floor(xp.concatenate([edges[0], within, edges[1]])).astype(int)


def _plus(one: Any, other: Any) -> Any:
    return jax.tree.map(jnp.add, one, other)


def _nothing(like: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, like)


def _less(one: Any, other: Any) -> Any:
    return jax.tree.map(jnp.subtract, one, other)


def _at(tree: Any, where: Any) -> Any:
    return jax.tree.map(lambda array: array[where], tree)


def _means(ends: Any, points: Any, values: Any) -> Any:
    """Means of values that are known at points, from each end to the next."""
    xp = namespace(ends, points, values)
    fine = xp.sort(xp.concatenate([points, ends]))
    known = _interpolated(fine, points, values)
    gaps, durations = (xp.diff(each).reshape(-1, *[1] * (values.ndim - 1)) for each in (fine, ends))
    areas = xp.concatenate([0 * known[:1], xp.cumsum(gaps * (known[1:] + known[:-1]) / 2, axis=0)])
    means = xp.diff(_interpolated(ends, fine, areas), axis=0) / xp.where(durations > 0, durations, 1.0)
    return xp.where(durations > 0, means, _interpolated(ends[1:], points, values))


def _interpolated(at: Any, points: Any, values: Any) -> Any:
    """Values at points, between them; not known where it is not known at which."""
    xp = namespace(at, points, values)
    after = xp.clip(xp.searchsorted(points, at), 1, len(points) - 1)
    gap = points[after] - points[after - 1]
    share = (at - points[after - 1]) / xp.where(gap > 0, gap, 1.0)
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return (1 - share) * values[after - 1] + share * values[after]
