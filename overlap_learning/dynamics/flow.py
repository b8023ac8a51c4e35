"""Flow: the adapter that has diffrax integrate a learner."""

from typing import Any, cast

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from overlap_learning.dynamics.geometric import summed
from overlap_learning.dynamics.learner import AbstractLearner
from overlap_learning.dynamics.record import Outcome, Record
from overlap_learning.dynamics.results import RESULTS
from overlap_learning.dynamics.rules import GradientFlow
from overlap_learning.tasks.task import Task


def flow(learner: AbstractLearner, rule: GradientFlow, task: Task, position: jax.Array) -> Outcome:
    """Gradient flow from a position.

    Args:
        learner: what moves.
        rule: how far, with which solver, and what to save.
        task: a fixed batch.
        position: the start.
    """
    return _solve(learner, rule, summed(task).astype(position.dtype), position)


@eqx.filter_jit
def _solve(learner: AbstractLearner, rule: GradientFlow, task: Task, position: jax.Array) -> Outcome:
    dtype = position.dtype
    rates, decay = learner.rates.astype(dtype), rule.weight_decay.astype(dtype)

    def velocity(time, position, _):
        _, gradient = learner.gradient(position, task)
        return -(gradient + decay * position) * rates

    def save(time, position, _):
        return Record(time, None, learner.loss(position, task), learner.gram(position), learner.transfer(position))

    stop_loss = rule.stop_loss
    event = None
    if stop_loss is not None:
        event = diffrax.Event(lambda time, position, args, **kwargs: learner.loss(position, task) <= stop_loss)

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        rule.solver,
        t0=jnp.zeros((), dtype),
        t1=rule.duration.astype(dtype),
        dt0=None,
        y0=position,
        saveat=diffrax.SaveAt(
            subs=[diffrax.SubSaveAt(ts=rule.save_at.astype(dtype), fn=save), diffrax.SubSaveAt(t1=True)],
            dense=rule.dense,
        ),
        stepsize_controller=diffrax.PIDController(rtol=rule.rtol.astype(dtype), atol=rule.atol.astype(dtype)),
        event=event,
        max_steps=rule.max_steps,
        throw=False,
    )
    saved: Any
    saved, final = cast(Any, solution.ys)
    end = cast(Any, solution.ts)[1]
    codes = diffrax.RESULTS
    result = RESULTS.where(solution.result == codes.successful, RESULTS.successful, RESULTS.solver_failed)
    result = RESULTS.where(solution.result == codes.event_occurred, RESULTS.loss_reached, result)
    result = RESULTS.where(solution.result == codes.max_steps_reached, RESULTS.max_steps_reached, result)

    # Points that were not reached hold inf. A run that stopped early ends with where it stopped, in place of the first.
    stopped = save(end[0], final[0], None)
    reached = jnp.isfinite(saved.time)
    saved = eqx.tree_at(lambda r: r.time, saved, jnp.where(reached, saved.time, jnp.nan))
    is_end = (jnp.arange(len(reached)) == jnp.sum(reached)) & (result != RESULTS.successful)
    record = jax.tree.map(
        lambda points, last: jnp.where(is_end.reshape(-1, *[1] * last.ndim), last, points), saved, stopped
    )
    stats = {name: solution.stats[f"num_{name}_steps"] for name in ("accepted", "rejected")}
    stats["end_time"] = end[0]
    return Outcome(record, final[0], result, stats, solution.interpolation)
