"""Descent: the loop of every rule that learns in steps."""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from overlap_learning.dynamics.checkpoint import Store
from overlap_learning.dynamics.geometric import silent_loss
from overlap_learning.dynamics.learner import AbstractLearner
from overlap_learning.dynamics.preparation import prepared
from overlap_learning.dynamics.record import Outcome, Record, join, pad, point
from overlap_learning.dynamics.results import RESULTS, is_one_of
from overlap_learning.dynamics.rules import AbstractDescent
from overlap_learning.dynamics.schedule import at_loss
from overlap_learning.model.entrywise import scan
from overlap_learning.model.precision import is_traced
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task

#: Overlaps this many times the largest initial one mean that learning diverged: from there they square at each step.
#: So does a loss this many times that of the start and of a silent output together.
GROWTH_LIMIT = 1e8


class State(eqx.Module):
    """Where a descent is. In a batch every array has the members as its first axis."""

    position: jax.Array
    memory: Any
    step: jax.Array
    time: jax.Array
    result: RESULTS
    # Position, step and time one step back: what a step led to is known to be bad only once its loss is.
    previous: tuple[jax.Array, jax.Array, jax.Array]
    # The step of the last saved point, and the lowest loss met so far.
    saved: jax.Array
    lowest: jax.Array


class Limits(eqx.Module):
    """What is beyond learning: the largest overlap, and the loss at the start."""

    overlap: jax.Array
    first_loss: jax.Array

    def admit(self, learner: AbstractLearner, position: jax.Array, loss: jax.Array, task: Task) -> jax.Array:
        """Whether a position and its loss are those of learning. Comparisons with NaN are false, so NaN is not."""
        most = GROWTH_LIMIT * (self.first_loss + silent_loss(task))
        # Logarithms, because XLA calculates what leads to them once, and what leads to a comparison anew for each
        # number that is chosen by it.
        return (jnp.log(loss) <= jnp.log(most)) & (learner.largest(position) <= self.overlap)


class Trials(eqx.Module):
    """Where the trials of each step come from; without a key if nothing is drawn."""

    task: Task | TaskStream
    key: jax.Array | None

    def draw(self, rule: AbstractDescent, step: jax.Array, dtype: Any) -> tuple[Task, Task]:
        """The trials of a step, and the same with noise on the targets."""
        trial_key, choice_key, noise_key = jax.random.split(self._key_of(step), 3)
        batch = self.task.sample(trial_key) if isinstance(self.task, TaskStream) else self.task
        if rule.batch_size is not None:
            chosen = jax.random.choice(choice_key, batch.n_trials, (rule.batch_size,), replace=False)
            # The mean over trials of the whole batch's loss, so that its expectation does not depend on the batch size.
            weights = batch.weights[chosen] * (batch.n_trials / rule.batch_size)
            batch = Task(batch.inputs[chosen], batch.targets[chosen], weights, batch.dt)
        # A network in single precision learns on trials in single precision; a drawn batch is cast where it is drawn.
        batch = batch.astype(dtype)
        if rule.label_noise is None:
            return batch, batch
        noise = rule.label_noise * jax.random.normal(noise_key, batch.targets.shape)
        return batch, batch.replace(targets=batch.targets + noise.astype(batch.targets.dtype))

    def parameter_key(self, step: jax.Array) -> jax.Array:
        """The key of the parameter noise of a step, beyond the three of its trials."""
        return jax.random.fold_in(self._key_of(step), 3)

    def _key_of(self, step: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.key(0) if self.key is None else self.key, step)


class Call(NamedTuple):
    """One compiled call: `n_points` saved points, `n_steps` steps before each; or just steps, if `n_points` is 0."""

    n_points: int
    n_steps: int

    @property
    def length(self) -> int:
        """The steps of the call."""
        return max(1, self.n_points) * self.n_steps


def descend(
    learner: AbstractLearner,
    rule: AbstractDescent,
    task: Task | TaskStream,
    position: jax.Array,
    key: jax.Array | None,
    *,
    own: tuple[str, ...] | None = None,
    steps_per_call: int | None = None,
    after_call: Callable[[State], None] = lambda state: None,
    store: Store | None = None,
) -> Outcome:
    """Learn in steps from a position, or from those of a batch, side by side on the same trials.

    Args:
        learner: what moves.
        rule: how.
        task: a fixed batch of trials, or a stream of them.
        position: the start [*, d], or those of a batch [n, *, d].
        key: the key of all random draws: step k uses `fold_in(key, k)`, whatever the learner and the member; None:
            there are none.
        own: for a batch, the learner's arrays of which each member has its own, by name; None: one run.
        steps_per_call: the most steps per compiled call; None: all in one.
        after_call: called with the state after each compiled call (for progress); a KeyboardInterrupt ends the run with
            what was saved.
        store: where checkpoints are kept; the run goes on from the last one.
    """
    trials = Trials(prepared(task), key)
    plan = _plan(rule.n_steps, rule.save_every, steps_per_call)
    # The step at which each call begins, and the last one ends.
    begins = [0, *itertools.accumulate(call.length for call in plan)]
    state = _start(rule, position, () if own is None else position.shape[:1])
    found = None if store is None else store.load(state)
    if found is None:
        records, n_done = [_first(learner, rule, trials, state, own)], 0
    else:
        state, record, n_done = found
        records = [record]
        after_call(state)
    limits = _limits(records[0])
    interrupted = False
    try:
        while n_done < len(plan):
            begin: Any = np.asarray(begins[n_done])
            now, record = _advance(learner, rule, trials, limits, state, begin, own, *plan[n_done])
            # One assignment: Ctrl-C finds all of them as they were before the call, or as they are after it.
            state, records, n_done = now, records if record is None else [*records, record], n_done + 1
            if not is_traced(state) and not np.any(is_one_of(state.result, RESULTS.successful)):
                # Where it ended is a saved point: if this call had none, the next one that has is run.
                ahead = (i for i in range(n_done, len(plan)) if plan[i].n_points)
                n_done = len(plan) if record is not None else next(ahead)
            after_call(state)
            if store is not None:
                store.keep(begins[n_done], state, records, n_done, ended=n_done == len(plan))
    except KeyboardInterrupt:
        if is_traced(state):
            # What is being compiled is a whole run, or nothing.
            raise
        interrupted = True
        if store is not None:
            store.write(begins[n_done], state, records, n_done)
    result = state.result
    if interrupted:
        result = (_interrupt if own is None else jax.vmap(_interrupt))(result)
    record = join(records)
    if not interrupted:
        record = pad(record, 1 + sum(call.n_points for call in plan))
    return Outcome(record, state.position, result, {"n_steps": state.step})


def _plan(n_steps: int, stride: int, steps_per_call: int | None) -> list[Call]:
    """The compiled calls of a run, of as few kinds as can be: each kind compiles once."""
    whole, rest = divmod(n_steps, stride)
    if steps_per_call is None or stride <= steps_per_call:
        most = whole if steps_per_call is None else min(whole, steps_per_call // stride)
        # A divisor near the limit leaves no shorter last call, which would be another program.
        n_points = next((n for n in range(most, most // 2, -1) if whole % n == 0), most)
        calls = [Call(min(n_points, whole - done), stride) for done in range(0, whole, n_points)]
    else:
        calls = _in_pieces(stride, steps_per_call) * whole
    if rest:
        calls += _in_pieces(rest, rest if steps_per_call is None else steps_per_call)
    return calls


def _in_pieces(n_steps: int, most: int) -> list[Call]:
    """The calls of the steps before one saved point, of at most `most` steps each."""
    n_pieces = math.ceil(n_steps / most)
    piece = math.ceil(n_steps / n_pieces)
    return [Call(0, piece)] * (n_pieces - 1) + [Call(1, n_steps - (n_pieces - 1) * piece)]


def _interrupt(result: RESULTS) -> RESULTS:
    return RESULTS.where(result == RESULTS.successful, RESULTS.interrupted, result)


def _start(rule: AbstractDescent, position: jax.Array, members: tuple[int, ...]) -> State:
    # Arrays of numpy are made without compiled calls of their own.
    zero: Any = np.zeros(members, int)
    time: Any = np.zeros(members)
    lowest: Any = np.full(members, np.inf, position.dtype)
    memory = jax.vmap(rule.init)(position) if members else rule.init(position)
    result = jax.vmap(lambda _: RESULTS.successful)(zero) if members else RESULTS.successful
    return State(position, memory, zero, time, result, (position, zero, time), zero, lowest)


def each(own: tuple[str, ...] | None, function: Callable[..., Any], learner: AbstractLearner, *arguments: Any) -> Any:
    """`function(learner, *arguments)` of one run, or of each member of a batch, side by side."""
    if own is None:
        return function(learner, *arguments)

    def fields(learner):
        return [getattr(learner, name) for name in own]

    def member(mine, *arguments):
        return function(eqx.tree_at(fields, learner, mine), *arguments)

    return jax.vmap(member)(fields(learner), *arguments)


@jax.jit
def _limits(record: Record) -> Limits:
    """From the start of a run, the first point of its record."""
    largest = jnp.max(jnp.abs(record.gram[..., 0, :, :]), axis=(-2, -1))
    return Limits(GROWTH_LIMIT * largest, record.loss[..., 0])


@eqx.filter_jit
def _first(
    learner: AbstractLearner, rule: AbstractDescent, trials: Trials, state: State, own: tuple[str, ...] | None
) -> Record:
    clean, _ = trials.draw(rule, jnp.zeros((), int), state.position.dtype)

    def one(learner, state):
        return point(learner, state.position, state.time, state.step, learner.loss(state.position, clean))

    return each(own, one, learner, state)


@eqx.filter_jit
def _advance(
    learner: AbstractLearner,
    rule: AbstractDescent,
    trials: Trials,
    limits: Limits,
    state: State,
    begin: jax.Array,
    own: tuple[str, ...] | None,
    n_points: int,
    n_steps: int,
) -> tuple[State, Record | None]:
    """A `Call`. All members that are still learning are at the same step, which begins at `begin`."""

    def one(learner, limits, state):
        def one_step(carry, _):
            state, step = carry
            # Of the step and not of the state: a batch then draws its trials once for all members.
            _, noisy = trials.draw(rule, step, state.position.dtype)
            noise_key = trials.parameter_key(step)

            def move(state):
                return _step(learner, rule, noisy, noise_key, limits, state)

            if learner.skips:
                state = lax.cond(state.result == RESULTS.successful, move, lambda state: state, state)
            else:
                state = move(state)
            return (state, step + 1), None

        def walk(state, begin):
            (state, end), _ = scan(one_step, (state, begin), length=n_steps)
            return state, end

        def one_point(carry, _):
            state, step = walk(*carry)
            state, saved = _save(learner, rule, trials, limits, state)
            return (state, step), saved

        if n_points == 0:
            return walk(state, begin)[0], None
        (state, _), saved = scan(one_point, (state, begin), length=n_points)
        # The points carry an axis of length 1 of their own.
        return state, jax.tree.map(lambda a: a[:, 0], saved)

    return each(own, one, learner, limits, state)


def _step(
    learner: AbstractLearner,
    rule: AbstractDescent,
    noisy: Task,
    noise_key: jax.Array,
    limits: Limits,
    state: State,
) -> State:
    loss, gradient = learner.gradient(state.position, noisy)
    running = state.result == RESULTS.successful
    # Where this loss or these overlaps are bad, so was the last step.
    good = limits.admit(learner, state.position, loss, noisy)
    there = jnp.zeros((), bool) if rule.stop_loss is None else running & good & (loss <= rule.stop_loss)
    lowest = jnp.minimum(state.lowest, loss)
    rule = at_loss(rule, lowest, state.step)
    elapsed = rule.elapsed(state.step)
    position, memory = rule.update(learner, state.position, gradient, state.memory, state.step)
    if rule.parameter_noise is not None:
        position = learner.diffuse(position, 2 * rule.parameter_noise * elapsed, noise_key)
    here = (state.position, state.step, state.time)
    moved = State(position, memory, state.step + 1, state.time + elapsed, state.result, here, state.saved, lowest)
    stayed = eqx.tree_at(lambda s: s.result, state, RESULTS.where(there, RESULTS.loss_reached, state.result))
    stayed = _undo(stayed, running & ~good)
    return jax.tree.map(lambda new, old: jnp.where(running & good & ~there, new, old), moved, stayed)


def _save(
    learner: AbstractLearner, rule: AbstractDescent, trials: Trials, limits: Limits, state: State
) -> tuple[State, Record]:
    """The saved point where a run is, on the trials of its own step; without a time if there is nothing new."""
    clean, _ = trials.draw(rule, state.step, state.position.dtype)
    loss = learner.loss(state.position, clean)
    good = limits.admit(learner, state.position, loss, clean)
    state = _undo(state, ~good)
    loss = lax.cond(good, lambda: loss, lambda: learner.loss(state.position, clean))
    saved = point(learner, state.position, state.time, state.step, loss)
    time = jnp.where(state.step > state.saved, saved.time, jnp.nan)
    state = eqx.tree_at(lambda s: s.saved, state, jnp.maximum(state.saved, state.step))
    return state, eqx.tree_at(lambda r: r.time, saved, time)


def _undo(state: State, bad: jax.Array) -> State:
    """One step back, and the run diverged, where `bad`."""
    position, step, time = (
        jnp.where(bad, old, new)
        for old, new in zip(state.previous, (state.position, state.step, state.time), strict=True)
    )
    result = RESULTS.where(bad, RESULTS.diverged, state.result)
    return eqx.tree_at(lambda s: (s.position, s.step, s.time, s.result), state, (position, step, time, result))
