"""Run: what `integrate` and `train` share. Both check the same things and follow a learner the same way."""

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp

from overlap_learning.dynamics.checkpoint import Store
from overlap_learning.dynamics.descent import State, descend, each
from overlap_learning.dynamics.flow import flow
from overlap_learning.dynamics.gradient import check_task
from overlap_learning.dynamics.learner import AbstractLearner
from overlap_learning.dynamics.record import Outcome
from overlap_learning.dynamics.rules import AbstractDescent, AbstractRule, GradientFlow
from overlap_learning.model.activity import check_channels
from overlap_learning.model.model import Model, check_model
from overlap_learning.model.precision import check_key
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task

#: Between two looks at the progress bar and at Ctrl-C, at most so many saved points, and so many steps.
POINTS_PER_CALL, STEPS_PER_CALL = 10, 500


def check_run(model: Model, task: Task | TaskStream, rule: AbstractRule, key: jax.Array | None, caller: str) -> None:
    """Refuse arguments that do not fit together, before anything is compiled.

    Raises:
        ValueError: naming the argument, what it was and what is allowed.
    """
    check_model(model, caller)
    if key is not None:
        check_key(key, caller)
    if not isinstance(rule, AbstractRule):
        raise ValueError(
            f"{caller}: rule must be ol.GradientFlow, ol.GradientDescent, ol.DirectDescent or (at full N) "
            f"ol.Optimiser, got {rule!r}. For example: ol.GradientDescent(learning_rate=5e-3, n_steps=2000)."
        )
    if not isinstance(task, (Task, TaskStream)):
        raise ValueError(f"{caller}: task must be an ol.Task or an ol.tasks.stream(...), got {type(task).__name__}.")
    is_stream = isinstance(task, TaskStream)
    if is_stream and isinstance(rule, GradientFlow):
        raise ValueError(
            f"{caller}: GradientFlow needs a fixed batch (a flow takes no steps in which to draw trials); take one "
            "with stream.sample(key), or use ol.GradientDescent."
        )
    batch = jax.eval_shape(task.sample, jax.random.key(0)) if is_stream else task
    check_task(model, batch, caller)
    check_channels(model.layout, batch, caller)
    if isinstance(rule, AbstractDescent):
        if rule.batch_size is not None and rule.batch_size > batch.n_trials:
            raise ValueError(
                f"{caller}: batch_size={rule.batch_size} is larger than the task's {batch.n_trials} trials."
            )
        noisy = rule.label_noise is not None
        for needed, why in (
            (is_stream, "a task stream"),
            (rule.batch_size is not None, "batch_size"),
            (noisy, "label_noise"),
        ):
            if needed and key is None:
                raise ValueError(
                    f"{caller}: {why} draws at random and needs a key: ol.{caller}(..., key=jax.random.key(0))."
                )


def follow(
    learner: AbstractLearner,
    rule: AbstractRule,
    task: Task | TaskStream,
    position: jax.Array,
    key: jax.Array | None,
    *,
    own: tuple[str, ...] | None = None,
    **calls: Any,
) -> Outcome:
    """Move a learner, or a batch of them, by a rule.

    Args:
        learner: what moves.
        rule: how.
        task: on what.
        position: the start [*, d], or those of a batch [n, *, d].
        key: the key of all random draws; None: there are none.
        own: for a batch, the learner's arrays of which each member has its own, by name; None: one run.
        **calls: the other keyword arguments of `descend`.
    """
    if isinstance(rule, AbstractDescent):
        return descend(learner, bare(rule), task, position, key, own=own, **calls)

    def one(learner, position):
        # check_run has refused a flow on a stream.
        return flow(learner, bare(rule), cast(Task, task), position)

    return each(own, one, learner, position)


@contextlib.contextmanager
def calls_of(rule: AbstractRule, progress: bool | None, title: str, store: Store | None = None) -> Iterator[dict]:
    """How `descend` is to be called, so that a bar moves, Ctrl-C is heard and checkpoints are written.

    Args:
        rule: the rule; a flow is one compiled call.
        progress: show a progress bar; None: if a person is watching (standard error is a terminal).
        title: what the bar is of.
        store: where checkpoints are kept.
    """
    if not isinstance(rule, AbstractDescent):
        yield {}
        return
    from tqdm.auto import tqdm

    most = min(POINTS_PER_CALL * rule.save_every, STEPS_PER_CALL)
    disable = None if progress is None else not progress
    with tqdm(total=rule.n_steps, disable=disable, unit="step", desc=title) as bar:

        def show(state: State) -> None:
            # Reading the step waits for the device, which is what makes the bar true.
            bar.update(int(jnp.max(state.step)) - bar.n)

        yield {
            "steps_per_call": most if store is None else min(most, store.every),
            "after_call": show,
            "store": store,
        }


def bare(rule: Any) -> Any:
    """The rule without its rates, which the learner has as an array: a mapping's numbers would each compile anew."""
    if getattr(rule, "rates", None) is None:
        return rule
    return eqx.tree_at(lambda r: r.rates, rule, None, is_leaf=lambda x: x is rule.rates)
