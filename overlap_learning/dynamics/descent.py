"""Descent: the loop of every rule that learns in steps."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from overlap_learning.dynamics.learner import AbstractLearner
from overlap_learning.dynamics.record import Outcome, Record, join, point, trim
from overlap_learning.dynamics.results import RESULTS
from overlap_learning.dynamics.rules import AbstractDescent
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task

#: Overlaps this many times the largest initial one mean that learning diverged: from there they square at each step.
#: So does a loss this many times that of the start and of a silent output together.
GROWTH_LIMIT = 1e8

#: Sets the key of a step's parameter noise apart from those of its trials.
_DIFFUSION = 3


class State(eqx.Module):
    """Where a descent is."""

    position: jax.Array
    memory: Any
    step: jax.Array
    time: jax.Array
    result: RESULTS
    # Position, step and time one step back: what a step led to is known to be bad only once its loss is.
    previous: tuple[jax.Array, jax.Array, jax.Array]


class Limits(eqx.Module):
    """What is beyond learning: the largest overlap, and the loss at the start."""

    overlap: jax.Array
    first_loss: jax.Array

    def admit(self, loss: jax.Array, task: Task) -> jax.Array:
        """Whether a loss is that of learning. Comparisons with NaN are false, so NaN is not."""
        silent = jnp.sum(task.weights * jnp.square(task.targets))
        return loss <= GROWTH_LIMIT * (self.first_loss + silent)


def descend(
    learner: AbstractLearner,
    rule: AbstractDescent,
    task: Task | TaskStream,
    position: jax.Array,
    key: jax.Array,
    *,
    points_per_call: int | None = None,
    after_call: Callable[[State], None] = lambda state: None,
) -> Outcome:
    """Learn in steps from a position.

    Args:
        learner: what moves.
        rule: how.
        task: a fixed batch, or a stream of them.
        position: the start.
        key: the key of all random draws: step k uses `fold_in(key, k)`, whatever the learner.
        points_per_call: saved points per compiled call; None: all in one.
        after_call: called with the state after each compiled call (for progress); a KeyboardInterrupt ends the run with
            what was saved.
    """
    # A network in single precision learns on trials in single precision; a drawn batch is cast where it is drawn.
    zero, time = jnp.zeros((), dtype=int), jnp.zeros(())
    state = State(position, rule.init(position), zero, time, RESULTS.successful, (position, zero, time))
    whole, rest = divmod(rule.n_steps, rule.save_every)
    calls = [min(points_per_call or whole, whole - done) for done in range(0, whole, points_per_call or whole)]
    plan = [(n, rule.save_every) for n in calls] + ([(1, rest)] if rest else [])
    records = [_first(learner, rule, task, key, state)]
    largest = jnp.max(jnp.abs(records[0].gram))
    limits = Limits(GROWTH_LIMIT * largest, records[0].loss[0])
    interrupted = False
    try:
        for n_points, stride in plan:
            state, record = _advance(learner, rule, task, key, limits, state, n_points, stride)
            records.append(record)
            after_call(state)
    except KeyboardInterrupt:
        interrupted = True
    result = RESULTS.where(jnp.asarray(interrupted), RESULTS.interrupted, state.result)
    return Outcome(trim(join(records)), state.position, result, {"n_steps": state.step})


@eqx.filter_jit
def _first(
    learner: AbstractLearner, rule: AbstractDescent, task: Task | TaskStream, key: jax.Array, state: State
) -> Record:
    clean, _ = _draw(rule, task, key, state)
    return point(learner, state.position, state.time, state.step, learner.loss(state.position, clean))


@eqx.filter_jit
def _advance(
    learner: AbstractLearner,
    rule: AbstractDescent,
    task: Task | TaskStream,
    key: jax.Array,
    limits: Limits,
    state: State,
    n_points: int,
    stride: int,
) -> tuple[State, Record]:
    def running(state):
        return state.result == RESULTS.successful

    def one_step(state, _):
        return lax.cond(running(state), lambda s: _step(learner, rule, task, key, limits, s), lambda s: s, state), None

    def one_point(state, _):
        before = state
        state, _ = lax.scan(one_step, state, length=stride)
        clean, _ = _draw(rule, task, key, state)
        loss = learner.loss(state.position, clean)
        good = limits.admit(loss, clean)
        state = _undo(state, ~good)
        loss = lax.cond(good, lambda: loss, lambda: learner.loss(state.position, clean))
        saved = point(learner, state.position, state.time, state.step, loss)
        # A run that ended before this stride has nothing new to save.
        time = jnp.where(running(before) & (state.step > before.step), saved.time, jnp.nan)
        return state, eqx.tree_at(lambda r: r.time, saved, time)

    state, saved = lax.scan(one_point, state, length=n_points)
    # The points carry an axis of length 1 of their own.
    return state, jax.tree.map(lambda a: a[:, 0], saved)


def _step(
    learner: AbstractLearner,
    rule: AbstractDescent,
    task: Task | TaskStream,
    key: jax.Array,
    limits: Limits,
    state: State,
) -> State:
    _, noisy = _draw(rule, task, key, state)
    loss, gradient = learner.gradient(state.position, noisy)
    position, memory = rule.update(learner, state.position, gradient, state.memory, state.step)
    if rule.parameter_noise is not None:
        diffusion_key = jax.random.fold_in(jax.random.fold_in(key, state.step), _DIFFUSION)
        position = learner.diffuse(position, 2 * rule.parameter_noise * rule.elapsed(state.step), diffusion_key)
    # Where the loss is bad, so was the last step; where the overlaps would be, this one is not taken.
    arrived = limits.admit(loss, noisy)
    going = jnp.max(jnp.abs(learner.gram(position))) <= limits.overlap
    there = jnp.zeros((), bool) if rule.stop_loss is None else loss <= rule.stop_loss
    here = (state.position, state.step, state.time)
    moved = State(position, memory, state.step + 1, state.time + rule.elapsed(state.step), state.result, here)
    kept = jax.tree.map(lambda new, old: jnp.where(arrived & going & ~there, new, old), moved, state)
    result = RESULTS.where(there, RESULTS.loss_reached, RESULTS.where(going, state.result, RESULTS.diverged))
    return _undo(eqx.tree_at(lambda s: s.result, kept, result), ~arrived)


def _undo(state: State, bad: jax.Array) -> State:
    """One step back, and the run diverged, where `bad`."""
    position, step, time = (
        jnp.where(bad, old, new)
        for old, new in zip(state.previous, (state.position, state.step, state.time), strict=True)
    )
    result = RESULTS.where(bad, RESULTS.diverged, state.result)
    return State(position, state.memory, step, time, result, state.previous)


def _draw(rule: AbstractDescent, task: Task | TaskStream, key: jax.Array, state: State) -> tuple[Task, Task]:
    """The trials of a step, and the same with noise on the targets."""
    trial_key, choice_key, noise_key = jax.random.split(jax.random.fold_in(key, state.step), 3)
    batch = task.sample(trial_key) if isinstance(task, TaskStream) else task
    if rule.batch_size is not None:
        chosen = jax.random.choice(choice_key, batch.n_trials, (rule.batch_size,), replace=False)
        batch = Task(
            batch.inputs[chosen],
            batch.targets[chosen],
            # The mean over trials of the whole batch's loss, so that its expectation does not depend on the batch size.
            batch.weights[chosen] * (batch.n_trials / rule.batch_size),
            batch.dt,
        )
    batch = batch.astype(state.position.dtype)
    if rule.label_noise is None:
        return batch, batch
    noise = rule.label_noise * jax.random.normal(noise_key, batch.targets.shape)
    return batch, eqx.tree_at(lambda t: t.targets, batch, batch.targets + noise.astype(batch.targets.dtype))
