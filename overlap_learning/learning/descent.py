"""Descent: the loop of every rule that learns in steps."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from overlap_learning.checks import is_traced
from overlap_learning.learning.learner import AbstractLearner
from overlap_learning.learning.members import per_member
from overlap_learning.learning.outcomes import RESULTS, is_one_of
from overlap_learning.learning.pace import Pace
from overlap_learning.learning.record import Outcome, Record, join, last, pad
from overlap_learning.learning.rules import AbstractDescent
from overlap_learning.learning.trials import Trials, are_drawn
from overlap_learning.memory import refuse_too_large
from overlap_learning.module import Module
from overlap_learning.tasks.task import Task

#: A position this many times as large as the first one means that learning diverged: from there it squares at each
#: step. So does a loss this many times that of the start and of a silent output together.
GROWTH_LIMIT = 1e8


class State(Module):
    """Where a descent is. In a batch every array has the members as its first axis.

    Attributes:
        position: where.
        memory: what the rule remembers.
        slope: the gradient here, on the trials of this step.
        loss: the loss here, on the same.
        lowest: the lowest loss met so far.
        first_loss: the loss at the start.
        step: steps done; -1 before the start is looked at.
        time: learning time.
        result: whether and how the run has ended.
    """

    position: Any
    memory: Any
    slope: Any
    loss: jax.Array
    lowest: jax.Array
    first_loss: jax.Array
    step: jax.Array
    time: jax.Array
    result: RESULTS


class Limits(Module):
    """What is beyond learning.

    Attributes:
        size: of a position.
        silent_loss: the loss of a silent output; None: it differs from step to step.
    """

    size: jax.Array
    silent_loss: jax.Array | None

    def admit(
        self, learner: AbstractLearner, position: Any, loss: jax.Array, first_loss: jax.Array, task: Task
    ) -> jax.Array:
        """Whether a position and its loss are those of learning. Comparisons with NaN are false, so NaN is not."""
        silent_loss = task.silent_loss() if self.silent_loss is None else self.silent_loss
        most = GROWTH_LIMIT * (first_loss + silent_loss)
        return (loss <= most) & (learner.size(position) <= self.size)


#: Of more saved points it is looked at first whether they fit into memory.
MANY = 100_000
#: The steps of a long stride are taken in blocks of about so many, each of which is skipped at once.
BLOCK = 128
#: What is no step, as all before it: the first one, which moves nothing, is -1.
NO_STEP = -2


class Call(NamedTuple):
    """One compiled call: `n_points` saved points, `n_steps` steps before each; or just steps, if `n_points` is 0."""

    n_points: int
    n_steps: int

    @property
    def length(self) -> int:
        """The steps of the call."""
        return max(1, self.n_points) * self.n_steps


class Run(Module):
    """What does not change during a descent.

    Attributes:
        learner: what moves.
        rule: how.
        trials: on what.
        fields: of a batch, the learner's arrays of which each member has its own, by name; None: one run.
    """

    learner: AbstractLearner
    rule: AbstractDescent
    trials: Trials
    fields: tuple[str, ...] | None = eqx.field(static=True)


def descend(
    learner: AbstractLearner,
    rule: AbstractDescent,
    trials: Trials,
    position: Any,
    fields: tuple[str, ...] | None,
    pace: Pace,
) -> Outcome:
    """Learn in steps from a position, or from those of a batch, side by side on the same trials.

    Args:
        learner: what moves.
        rule: how.
        trials: where the trials of each step come from: step k uses `fold_in(key, k)`, whatever the learner and the
            member.
        position: the start, or those of a batch, which have the members as their first axis.
        fields: for a batch, the learner's arrays of which each member has its own, by name; None: one run.
        pace: how the run is cut into compiled calls, and what happens between them. A KeyboardInterrupt ends the run
            with what was saved.
    """
    run = Run(learner, rule, trials, fields)
    state, record, limits = _unlearned(run, position)
    if (n_strides := rule.n_steps // rule.save_every + 1) > MANY:
        size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(record))
        what = f"{type(rule).__name__}: save_every must be larger or n_steps smaller: {n_strides:,} saved points"
        refuse_too_large(size * n_strides, what, "save fewer")
    plan = _plan(rule.n_steps, rule.save_every, pace.steps_per_call)
    n_points = 1 + sum(call.n_points for call in plan)
    # The loss and the gradient of the start are those of step -1, which moves nothing, so that they are no program of
    # their own: the only step that is not skipped of a call before the first, or, in one program, of a first point.
    if is_traced(state):
        begin = -plan[0].n_steps
        plan[0] = plan[0]._replace(n_points=plan[0].n_points + 1)
    else:
        plan = [next(call for call in plan if call.n_points), *plan]
        begin = -plan[0].length
    # The step at which each call begins, and the last one ends.
    begins = [*itertools.accumulate((call.length for call in plan), initial=begin)]
    # The step of the last saved point before each call.
    ends = zip(plan, begins[1:], strict=True)
    since = [*itertools.accumulate(ends, lambda at, call: call[1] if call[0].n_points else at, initial=begin)]
    found = None if pace.store is None else pace.store.load((state, record))
    records, n_done = [], 0
    if found is not None:
        (state, record), n_done = found
        records = [record]
        pace.after_call(state)
    interrupted = False
    try:
        while n_done < len(plan):
            where: Any = np.asarray([begins[n_done], since[n_done]])
            now, record = _advance(run, limits, state, where, *plan[n_done])
            if begins[n_done + 1] == 0 and record is not None:
                record = last(record)
            # One assignment: Ctrl-C finds all of them as they were before the call, or as they are after it.
            state, records, n_done = now, records if record is None else [*records, record], n_done + 1
            if not is_traced(state) and not np.any(is_one_of(state.result, RESULTS.successful)):
                # Where it ended is a saved point: if this call had none, the next one that has is run.
                ahead = (i for i in range(n_done, len(plan)) if plan[i].n_points)
                n_done = len(plan) if record is not None else next(ahead)
            if begins[n_done] > 0:
                pace.after_call(state)
            if pace.store is not None:
                pace.store.keep(begins[n_done], state, records, n_done, ended=n_done == len(plan))
    except KeyboardInterrupt:
        if not records or is_traced(state):
            # What is being compiled is a whole run, or nothing was learned.
            raise
        interrupted = True
        if pace.store is not None:
            pace.store.write(begins[n_done], state, records, n_done)
    result = state.result
    if interrupted or is_traced(state) or np.any(is_one_of(result, RESULTS.diverged)):
        named = _interrupt if interrupted else _named
        result = (named if fields is None else jax.vmap(named))(state)
    position = (rule.chosen if fields is None else jax.vmap(rule.chosen))(state.position, state.memory)
    record = join(records)
    if not interrupted:
        record = pad(record, n_points)
    return Outcome(record, position, result, {"n_steps": state.step})


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


@eqx.filter_jit
def _interrupt(state: State) -> RESULTS:
    return RESULTS.where(state.result == RESULTS.successful, RESULTS.interrupted, state.result)


@eqx.filter_jit
def _named(state: State) -> RESULTS:
    """How a run ended: from a state of learning with a gradient that is not finite, by that, and not by its step."""
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state.slope)]))
    at_fault = (state.result == RESULTS.diverged) & jnp.isfinite(state.loss) & ~finite
    return RESULTS.where(at_fault, RESULTS.gradient_not_finite, state.result)


@eqx.filter_jit
def _unlearned(run: Run, position: Any) -> tuple[State, Record, Limits]:
    """The state before the start is looked at, a saved point like those to come, and what the run may not outgrow."""

    def one(learner, position):
        zero, one = jnp.zeros((), int), jnp.ones((), _dtype(position))
        # What a rule makes of these is not used, but derivatives of it are taken: they are finite at 1, not all at 0.
        slope = jax.tree.map(lambda array: 0 * array + 1, position)
        result = RESULTS.where(zero == 0, RESULTS.successful, RESULTS.diverged)
        state = State(position, run.rule.init(position), slope, one, one, one, zero - 1, jnp.zeros(()), result)
        silent_loss = None
        if not are_drawn(run.trials.task, run.rule):
            silent_loss = run.trials.draw(run.rule, zero, _dtype(position))[1].silent_loss()
        limits = Limits(GROWTH_LIMIT * learner.size(position), silent_loss)
        point = _point(learner, state, state.time, state.loss)[None]
        return state, _points(learner, state, point), limits

    return per_member(run.fields, one, run.learner, position)


@eqx.filter_jit
def _advance(
    run: Run, limits: Limits, state: State, where: jax.Array, n_points: int, n_steps: int
) -> tuple[State, Record | None]:
    """A `Call`. All members that are still learning are at the same step.

    Args:
        run: what does not change.
        limits: what is beyond learning.
        state: where the run is.
        where: the step at which the call begins, and that of the last saved point before it.
        n_points: of the call.
        n_steps: likewise.
    """
    begin, since = where

    def one(learner, limits, state):
        packed, unpacked = _packed(state)

        def one_step(packed, step):
            def move(packed):
                return _packed(_step(learner, run, limits, unpacked(packed), step))[0]

            # A step is a branch of its own, though it is always taken where nothing is skipped: on a CPU, XLA runs the
            # small kernels of a branch one after another, but those of a loop that saves as a graph, which takes longer
            # than they do. Steps are the same for all members of a batch, so that under vmap it remains one branch.
            is_one = step > NO_STEP
            goes_on = is_one & (unpacked(packed).result == RESULTS.successful) if learner.skips else is_one
            return lax.cond(goes_on, move, lambda packed: packed, packed), None

        def steps(packed, begin):
            n_blocks = math.ceil(n_steps / BLOCK)
            if n_blocks == 1:
                return lax.scan(one_step, packed, begin + jnp.arange(n_steps))[0]
            block = math.ceil(n_steps / n_blocks)
            places = jnp.arange(n_steps - n_blocks * block, n_steps)
            numbers = jnp.where(places < 0, NO_STEP, begin + places)

            def one_block(packed, numbers):
                taken = functools.partial(lax.scan, one_step)
                return lax.cond(numbers[-1] > NO_STEP, taken, lambda packed, _: (packed, None), packed, numbers)

            return lax.scan(one_block, packed, numbers.reshape(n_blocks, block))[0]

        def one_point(packed, at):
            # Of the call and not of the state: a batch then draws its trials once for all members.
            packed = steps(packed, at[0])
            if run.rule.reviews:
                packed, _ = _packed(_reviewed(learner, run, unpacked(packed)))
            return packed, _save(learner, run, unpacked(packed), at[1])

        if n_points == 0:
            return unpacked(steps(packed, begin)), None
        # A call of several points begins at one.
        points = n_steps * jnp.arange(n_points)
        packed, kept = lax.scan(one_point, packed, jnp.stack([begin + points, since + points], axis=1))
        return unpacked(packed), _points(learner, unpacked(packed), kept)

    return per_member(run.fields, one, run.learner, limits, state)


def _packed(state: State) -> tuple[Any, Callable[[Any], State]]:
    """A state with its numbers in one array, each of which would be a kernel of its own in a loop; and the way back."""

    def numbers(state):
        return state.loss, state.lowest, state.first_loss, state.step, state.time, state.result

    one, separate = ravel_pytree(numbers(state))
    packed = (eqx.tree_at(numbers, state, (None,) * 6), one)
    return packed, lambda packed: eqx.tree_at(numbers, packed[0], separate(packed[1]), is_leaf=lambda x: x is None)


def _step(learner: AbstractLearner, run: Run, limits: Limits, state: State, step: jax.Array) -> State:
    """A step, and the loss and the gradient where it led to; or the same state, if that is beyond learning.

    Step -1 leads to the start.
    """
    # Not the number of the step, which few rules ask for: that would be one more kernel.
    rule, is_start = run.rule, state.step < 0
    rate = rule.rate(step, state.lowest)
    position, memory = rule.update(learner, state.position, state.slope, state.memory, rate, state.loss)
    if rule.parameter_noise is not None:
        position = learner.diffuse(position, 2 * rule.parameter_noise * rate, run.trials.parameter_key(step))
    old, new = (state.position, state.memory, state.time), (position, memory, state.time + rate)
    position, memory, time = jax.tree.map(functools.partial(jnp.where, is_start), old, new)
    _, noisy = run.trials.draw(rule, step + 1, _dtype(position))
    loss, slope = learner.gradient(position, noisy)
    loss = loss.astype(state.loss.dtype)
    first_loss = jnp.where(is_start, loss, state.first_loss)
    lowest = jnp.where(is_start, loss, jnp.minimum(state.lowest, loss))
    good = limits.admit(learner, position, loss, first_loss, noisy)
    result = RESULTS.where(good, _reached(rule, loss), RESULTS.diverged)
    moved = State(position, memory, slope, loss, lowest, first_loss, state.step + 1, time, result)
    running = state.result == RESULTS.successful
    stayed = eqx.tree_at(lambda s: s.result, state, RESULTS.where(running, RESULTS.diverged, state.result))
    # Also a start that is not good is where the run is.
    return jax.tree.map(functools.partial(jnp.where, running & (good | is_start)), moved, stayed)


def _reviewed(learner: AbstractLearner, run: Run, state: State) -> State:
    """The state at a saved point, after the rule has looked at it."""
    batch, _ = run.trials.draw(run.rule, state.step, _dtype(state.position))
    reviewed, is_over = run.rule.review(learner, state.position, state.memory, batch)
    running = (state.result == RESULTS.successful) & (state.step > 0)
    memory = jax.tree.map(lambda new, old: jnp.where(running, new, old), reviewed, state.memory)
    result = RESULTS.where(running & is_over, RESULTS.stalled, state.result)
    return eqx.tree_at(lambda s: (s.memory, s.result), state, (memory, result))


def _reached(rule: AbstractDescent, loss: jax.Array) -> RESULTS:
    """How a run stands at a good position with this loss."""
    if rule.stop_loss is None:
        return RESULTS.successful
    return RESULTS.where(loss <= rule.stop_loss, RESULTS.loss_reached, RESULTS.successful)


def _save(learner: AbstractLearner, run: Run, state: State, since: jax.Array) -> jax.Array:
    """The saved point where a run is; without a time if it is still where it was when the last point was saved."""
    loss = state.loss
    if run.rule.label_noise is not None:
        # A run that has ended is at an earlier step than the others of its batch.
        clean, _ = run.trials.draw(run.rule, state.step, _dtype(state.position))
        loss = learner.loss(state.position, clean)
    return _point(learner, state, jnp.where(state.step > since, state.time, jnp.nan), loss)


def _point(learner: AbstractLearner, state: State, time: jax.Array, loss: jax.Array) -> jax.Array:
    """What the loop keeps of a saved point: one row of numbers, as each array takes time to write to."""
    return ravel_pytree((time, loss, state.step, learner.observe(state.position)))[0]


def _points(learner: AbstractLearner, state: State, kept: jax.Array) -> Record:
    """Saved points, from what the loop kept of them."""
    like = (state.time, state.loss, state.step, learner.observe(state.position))
    time, loss, step, saved = jax.vmap(ravel_pytree(like)[1])(kept)
    return Record(time, step, loss, saved)


def _dtype(position: Any) -> Any:
    return jnp.result_type(*jax.tree.leaves(position))
