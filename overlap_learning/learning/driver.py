"""Driver: one run of learning, in five steps: convert, check, prepare, run, finish."""

from typing import Any, cast

import equinox as eqx
import jax
import numpy as np

from overlap_learning.checks import check_key, is_traced
from overlap_learning.guides import guide
from overlap_learning.learning.checkpoint import Checkpoint, Store
from overlap_learning.learning.compiled import compiled
from overlap_learning.learning.descent import descend
from overlap_learning.learning.learner import AbstractLearner
from overlap_learning.learning.members import per_member
from overlap_learning.learning.pace import Pace, watched
from overlap_learning.learning.record import Outcome
from overlap_learning.learning.rules import AbstractRule, Motion
from overlap_learning.learning.solution import Solution, finish
from overlap_learning.learning.trials import Trials, are_drawn
from overlap_learning.model.bulk import bulk_rate
from overlap_learning.model.model import Model
from overlap_learning.tasks.stream import TaskStream, check_trials
from overlap_learning.tasks.task import Task


def learn(
    learner: AbstractLearner,
    task: Task | TaskStream,
    position: Any,
    rule: AbstractRule,
    key: jax.Array | None = None,
    *,
    fields: tuple[str, ...] | None = None,
    throw: bool = True,
    progress: bool | None = None,
    checkpoint: Checkpoint | None = None,
) -> Solution:
    """Move any learner by any rule: what `ol.integrate` and `ol.train` do with theirs.

    Args:
        learner: what moves, an `AbstractLearner`.
        task: a `Task` or, for rules in steps, a `TaskStream`.
        position: the start, a pytree of arrays; or the starts of a batch, which have the members as their first axis.
        rule: the learning rule.
        key: a jax random key; needed for all that is drawn.
        fields: for a batch, the learner's arrays of which each member has its own, by name; None: one run.
        throw: raise an error if learning ends badly; False: return the solution up to there, with its result code.
        progress: show a progress bar; None: if a person is watching (a terminal or a notebook).
        checkpoint: where to write down, every so many steps, where the run is. Not with a flow.

    Returns:
        A `Solution`, whose `saved` is what the learner observed.

    Raises:
        ValueError: if the arguments do not fit together, or the checkpoint is that of another run.
        LearningError: if learning ended badly, and throw.
        LearningInterrupted: on Ctrl-C; `.solution` holds what was saved.
    """
    check_rule(task, rule, key, "learn")
    store = None
    if checkpoint is not None:
        store = Store(checkpoint, "learn", learner=learner, task=task, position=position, rule=rule, key=key)
    with watched(rule, progress, "learn", store) as pace:
        outcome, final = run(learner, rule, task, position, key, fields, pace)
    return finish(None, outcome, final, "learn", throw=throw)


def run(
    learner: AbstractLearner,
    rule: AbstractRule,
    task: Task | TaskStream,
    position: Any,
    key: jax.Array | None,
    fields: tuple[str, ...] | None,
    pace: Pace,
) -> tuple[Outcome, Any]:
    """How a run went, and what was learned.

    Args:
        learner: what moves.
        rule: how.
        task: on what.
        position: the start, or those of a batch.
        key: the key of all random draws; None: there are none.
        fields: for a batch, the learner's arrays of which each member has its own, by name; None: one run.
        pace: how the run is cut into compiled calls.
    """
    if not (are_drawn(task, rule) or rule.parameter_noise is not None):
        # With a key of which nothing is drawn, the same run would be another program.
        key = None
    return (_run_whole if pace.is_whole else _run)(learner, rule, task, position, key, fields, pace)


def _run(
    learner: AbstractLearner,
    rule: Any,
    task: Task | TaskStream,
    position: Any,
    key: jax.Array | None,
    fields: tuple[str, ...] | None,
    pace: Pace,
) -> tuple[Outcome, Any]:
    follow: Any = descend
    if rule.n_steps is None:
        # With diffrax, which takes as long to import as all the rest.
        from overlap_learning.learning.flow import flow as follow
    outcome: Outcome = follow(learner, rule, Trials(task, key), position, fields, pace)
    final, stats = _end(learner, task, position, outcome.position, key, fields)
    return eqx.tree_at(lambda o: (o.position, o.stats), outcome, (None, outcome.stats | stats)), final


#: What is done before and after learning would take longer than many a run: a whole run is one program.
_run_whole = compiled(_run)


@eqx.filter_jit
def _end(
    learner: AbstractLearner,
    task: Task | TaskStream,
    first: Any,
    last: Any,
    key: jax.Array | None,
    fields: tuple[str, ...] | None,
) -> tuple[Any, dict[str, jax.Array]]:
    """What was learned, and numbers about it."""
    # A stream has a key.
    batch: Any = task.sample(cast(jax.Array, key))

    def one(learner, first, last):
        return learner.final(last), learner.stats(first, last, batch)

    return per_member(fields, one, learner, first, last)


def check_run(
    model: Model,
    task: Task | TaskStream,
    rule: AbstractRule,
    key: jax.Array | None,
    caller: str,
    *,
    with_bulk: bool = False,
) -> None:
    """Refuse arguments that do not fit together, before anything is compiled.

    Raises:
        ValueError: naming the argument, what it was and what is allowed.
    """
    check_trials(model, task, caller, with_bulk=with_bulk)
    check_rule(task, rule, key, caller)
    if model.tied:
        _check_tied_rates(model, rule, caller)


def _check_tied_rates(model: Model, rule: AbstractRule, caller: str) -> None:
    """Refuse a rule under which tied vectors would part.

    Raises:
        ValueError: naming them.
    """
    if rule.motion not in (Motion.LINEAR, Motion.ELEMENTWISE):
        raise ValueError(
            f"{caller}: tied vectors learn by GradientFlow, GradientDescent without parameter_noise, or Optimiser, got "
            f"{rule!r}."
        )
    names, rates = model.layout.vector_names, bulk_rate(rule.rates)[0]
    if np.ndim(rates) < 2:
        rates = model.layout.known_rates(rates)
    for one, other in () if is_traced(rates) else model.tied:
        first, second = (np.asarray(rates)[..., names.index(name)] for name in (one, other))
        if not np.array_equal(first, second):
            raise ValueError(
                f"{caller}: {one} is tied to {other} and has its rate; got {first} and {second}. Pass "
                f'rates={{"{one}": {second}, "{other}": {second}}}.'
            )


def check_rule(task: Task | TaskStream, rule: AbstractRule, key: jax.Array | None, caller: str) -> None:
    """Refuse a rule that does not fit the task, and draws without a key.

    Raises:
        ValueError: naming the argument, what it was and what is allowed.
    """
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
    if is_stream and rule.n_steps is None:
        raise ValueError(
            f"{caller}: GradientFlow needs a fixed batch (a flow takes no steps in which to draw trials); take one "
            f"with stream.sample(key), or use ol.GradientDescent.{guide('stream')}"
        )
    if rule.batch_size is not None and rule.batch_size > (n_trials := task.outline.n_trials):
        raise ValueError(f"{caller}: batch_size={rule.batch_size} is larger than the task's {n_trials} trials.")
    if key is not None:
        return
    for needed, why in (
        (is_stream, "a task stream"),
        (rule.batch_size is not None, "batch_size"),
        (rule.label_noise is not None, "label_noise"),
    ):
        if needed:
            raise ValueError(
                f"{caller}: {why} draws at random and needs a key: ol.{caller}(..., key=jax.random.key(0))."
            )
