"""Flow: the adapter that has diffrax integrate a learner."""

from typing import Any, cast

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from overlap_learning.learning.learner import AbstractLearner
from overlap_learning.learning.members import per_member
from overlap_learning.learning.outcomes import RESULTS
from overlap_learning.learning.pace import Pace
from overlap_learning.learning.progress import DELAY, bar
from overlap_learning.learning.record import Outcome, Record
from overlap_learning.learning.rules import GradientFlow
from overlap_learning.learning.trials import Trials
from overlap_learning.tasks.task import Task


def flow(
    learner: AbstractLearner,
    rule: GradientFlow,
    trials: Trials,
    position: Any,
    fields: tuple[str, ...] | None,
    pace: Pace,
) -> Outcome:
    """Gradient flow from a position, or from those of a batch.

    Args:
        learner: what moves.
        rule: how far, with which solver, and what to save.
        trials: a fixed batch.
        position: the start.
        fields: for a batch, the learner's arrays of which each member has its own, by name; None: one run.
        pace: whether a bar is shown; a flow is one compiled call.
    """
    meter = _Bar() if pace.has_bar else diffrax.NoProgressMeter()

    def one(learner: AbstractLearner, position: Any) -> Outcome:
        return _solve(learner, rule, trials, position, meter)

    return per_member(fields, one, learner, position)


class _Bar(diffrax.TqdmProgressMeter):
    """A bar that comes late, as those of runs in several calls."""

    @staticmethod
    def _init_bar() -> Any:
        return bar(True, 100, "%", "flow", delay=DELAY)

    @staticmethod
    def _step_bar(bar: Any, progress: Any) -> None:
        # Diffrax's own way would draw it before its delay is over.
        bar.update(round(100 * float(progress), 2) - bar.n)


@eqx.filter_jit
def _solve(
    learner: AbstractLearner, rule: GradientFlow, trials: Trials, position: Any, meter: diffrax.AbstractProgressMeter
) -> Outcome:
    dtype = jnp.result_type(*jax.tree.leaves(position))
    task: Task = cast(Task, trials.task).astype(dtype)

    def velocity(time, position, _):
        _, gradient = learner.gradient(position, task)
        return rule.drift(learner, position, gradient)

    def save(time, position, _):
        return Record(time, None, learner.loss(position, task), learner.observe(position))

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
        progress_meter=meter,
    )
    saved: Any
    saved, ends = cast(Any, solution.ys)
    final = jax.tree.map(lambda a: a[0], ends)
    end = cast(Any, solution.ts)[1]
    codes = diffrax.RESULTS
    result = RESULTS.where(solution.result == codes.successful, RESULTS.successful, RESULTS.solver_failed)
    result = RESULTS.where(solution.result == codes.event_occurred, RESULTS.loss_reached, result)
    result = RESULTS.where(solution.result == codes.max_steps_reached, RESULTS.max_steps_reached, result)

    # Points that were not reached hold inf. A run that stopped early ends with where it stopped, in place of the first.
    stopped = save(end[0], final, None)
    reached = jnp.isfinite(saved.time)
    saved = eqx.tree_at(lambda r: r.time, saved, jnp.where(reached, saved.time, jnp.nan))
    is_end = (jnp.arange(len(reached)) == jnp.sum(reached)) & (result != RESULTS.successful)
    record = jax.tree.map(
        lambda points, last: jnp.where(is_end.reshape(-1, *[1] * last.ndim), last, points), saved, stopped
    )
    stats = {name: solution.stats[f"num_{name}_steps"] for name in ("accepted", "rejected")}
    stats["end_time"] = end[0]
    return Outcome(record, final, result, stats, solution.interpolation)
