"""integrate: the learning of a network, in overlap space."""

from contextlib import nullcontext
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp

from overlap_learning.dynamics.checkpoint import Checkpoint, Store
from overlap_learning.dynamics.learner import (
    AbstractLearner,
    DirectLearner,
    FactorLearner,
    MixtureLearner,
    TransferLearner,
)
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.dynamics.preparation import prepared
from overlap_learning.dynamics.record import Outcome
from overlap_learning.dynamics.rules import AbstractDescent, AbstractRule, DirectDescent, Optimiser
from overlap_learning.dynamics.run import bare, calls_of, check_run, follow
from overlap_learning.dynamics.solution import Solution, finish
from overlap_learning.model.activity import reduced_variance
from overlap_learning.model.factor import gram_factor
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps, with_gram
from overlap_learning.model.populations import Populations, from_moments
from overlap_learning.model.precision import is_traced, require_float64
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task


def integrate(
    model: Model,
    task: Task | TaskStream,
    overlaps: Overlaps | Populations,
    rule: AbstractRule,
    key: jax.Array | None = None,
    *,
    throw: bool = True,
    checkpoint: Checkpoint | None = None,
) -> Solution:
    """The theory: how learning moves the overlaps, from the overlaps alone.

    Gradient descent on the N x d vectors V acts on them from the right, `V(tau) = V(0) M(tau)`, so the d x d matrix M,
    and with it `G = M^T G(0) M`, follows a small closed system: exactly for linear networks of every N, for nonlinear
    ones under the assumption that neurons stay Gaussian, an approximation that drifts as training goes on. How large
    its error is on a task, `ol.closure_error` tells. Where a few per cent matter, `ol.train` 25 weighted neurons
    (`ol.Network.quadrature` with `Cubature(9)`), for less error 128 (`HermiteGrid(8, 2)`); eight `ol.Populations`
    (`Populations.split`) do nearly as well as the first and keep the form of the theory. For phi that is not odd, begin
    with `Populations.from_overlaps`, which has means.

    Args:
        model: the `Model`.
        task: a `Task` (fixed batch) or, for rules in steps, a `TaskStream` (fresh batch each step).
        overlaps: the start: `Overlaps`, or `Populations`, each of which stays Gaussian on its own.
        rule: `GradientFlow`, `GradientDescent` or `DirectDescent`.
        key: a jax random key; needed for a stream, for minibatches and for label noise. `ol.train` draws the same
            trials from the same key.
        throw: raise an error if learning ends badly; False: return the solution up to there, with its result code.
        checkpoint: where to write down, every so many steps, where the run is: the same call then goes on from there
            after the program was killed. Not with a flow.

    Returns:
        A `Solution`; its `final` is the learned `Overlaps`.

    Raises:
        ValueError: if the arguments do not fit together, the rule does not close in overlap space, or the checkpoint is
            that of another run.
        LearningError: if learning diverged or the solver failed, and throw.
        LearningInterrupted: on Ctrl-C in a run with checkpoints; `.solution` holds what was saved.
        OSError: if a checkpoint can't be written.
        RuntimeError: if jax is not in 64-bit mode.

    Source: Ger & Barak 2026, eqs. 6 to 9; theory page, eqs. (6) to (8).

    Examples:
        >>> model = ol.Model(ol.Layout(n_in=1, rank=1, n_out=1), ol.Linear())
        >>> task = ol.tasks.exponential_filter(decay=0.2)
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> solution = ol.integrate(model, task, start, ol.GradientDescent(learning_rate=5e-3, n_steps=2000))
        >>> bool(solution.loss[-1] < 1e-3)
        True
    """
    require_float64("ol.integrate")
    if not isinstance(overlaps, Populations):
        check_layout(model, overlaps, "integrate")
    if isinstance(rule, Optimiser):
        raise ValueError(
            "integrate: an Optimiser works element by element on the neurons, so the overlaps it leads to depend on "
            "more than overlaps: its learning does not close in overlap space. Run it at full N: "
            "ol.train(model, task, network, rule)."
        )
    check_run(model, task, rule, key, "integrate")
    diffuses = isinstance(rule, AbstractDescent) and rule.parameter_noise is not None
    if diffuses and getattr(rule, "momentum", None) is not None:
        raise ValueError(
            "integrate: parameter_noise with momentum needs the overlaps of noise and velocity too, which are not "
            "followed. Use momentum=0, or run it at full N: ol.train(model, task, network, rule, key)."
        )
    if isinstance(overlaps, Populations):
        _check_populations(model, overlaps, rule)
    store, learn, calls = None, _learn, {}
    if checkpoint is not None:
        store = Store(checkpoint, "integrate", model=model, task=task, overlaps=overlaps, rule=rule, key=key)
    elif not is_traced(overlaps, rule, task, key):
        most = _steps_per_call(model)
        if isinstance(rule, AbstractDescent) and rule.n_steps > most:
            calls = {"steps_per_call": most}
        else:
            learn = _learn_in_one_call
    rates = getattr(rule, "rates", None)
    rates = None if rates is None else model.layout.rates(rates)
    with nullcontext(calls) if store is None else calls_of(rule, False, "integrate", store) as calls:
        outcome, final, stats = learn(model, prepared(task), overlaps, bare(rule), rates, key, calls)
    return finish(model, outcome, final, stats, throw=throw)


def _steps_per_call(model: Model) -> int:
    """Steps of one compiled call, of which a run that ends early wastes some."""
    return 5000 if model.is_linear else 500


def _check_populations(model: Model, populations: Populations, rule: AbstractRule) -> None:
    """Refuse populations of another layout, and rules that they do not learn by.

    Raises:
        ValueError: naming what was passed and what is allowed.
    """
    if populations.layout != model.layout:
        raise ValueError(f"integrate: populations have {populations.layout}, the model has {model.layout}.")
    if isinstance(rule, DirectDescent) or getattr(rule, "parameter_noise", None) is not None:
        raise ValueError(
            "integrate: populations learn by GradientFlow or GradientDescent without parameter_noise; direct descent "
            "and parameter noise are for ol.Overlaps."
        )
    if getattr(rule, "dense", False):
        raise ValueError("integrate: dense=True keeps the overlaps of one population; save chosen times with save_at.")


def _learn(
    model: Model,
    task: Task | TaskStream,
    start: Overlaps | Populations,
    rule: AbstractRule,
    rates: jax.Array | None,
    key: jax.Array | None,
    calls: dict[str, Any],
) -> tuple[Outcome, Overlaps | Populations, dict[str, jax.Array]]:
    """What a run calculates: how it went, what was learned, and numbers about it."""
    rates = model.layout.rates(rates)
    if isinstance(start, Populations):
        return _learn_populations(model, task, start, rule, rates, key, calls)
    # Overlaps of a network in single precision are a usual start.
    gram = start.gram.astype(float)
    learner: AbstractLearner
    if isinstance(rule, DirectDescent):
        learner, position = DirectLearner(model, rates), gram
    elif isinstance(rule, AbstractDescent) and rule.parameter_noise is not None:
        learner, position = FactorLearner(model, rates), gram_factor(gram)
    else:
        learner, position = TransferLearner(model, rates, gram), jnp.eye(len(gram), dtype=gram.dtype)
    outcome = follow(learner, rule, task, position, key, **calls)
    final = learner.gram(outcome.position)
    return outcome, with_gram(start, final), outcome.stats | _gain_stats(model, task, gram, final, key)


#: Checks, and all that is done before and after learning, would take longer than many a run: such are one program.
_learn_in_one_call = eqx.filter_jit(_learn)


def _learn_populations(
    model: Model,
    task: Task | TaskStream,
    start: Populations,
    rule: AbstractRule,
    rates: jax.Array,
    key: jax.Array | None,
    calls: dict[str, Any],
) -> tuple[Outcome, Populations, dict[str, jax.Array]]:
    start = jax.tree.map(lambda array: array.astype(float), start)
    rates = jnp.concatenate([jnp.zeros(1), rates])
    learner = MixtureLearner(model, rates, start.moments, start.fractions)
    position = jnp.broadcast_to(jnp.eye(len(rates)), learner.start.shape)
    outcome = follow(learner, rule, task, position, key, **calls)
    return outcome, from_moments(start, learner.moments(outcome.position)), outcome.stats


@eqx.filter_jit
def _gain_stats(
    model: Model, task: Task | TaskStream, first: jax.Array, last: jax.Array, key: jax.Array | None
) -> dict[str, jax.Array]:
    """The largest field variance at the start and the end of learning, and the largest error of the gain."""
    if model.is_linear:
        return {}
    # A stream has a key.
    batch = task.sample(cast(jax.Array, key)) if isinstance(task, TaskStream) else task
    met = jnp.stack([reduced_variance(model, gram, batch) for gram in (first, last)])
    return {"field_variance": jnp.max(met), "gain_error": jnp.max(model.activation.gain_error(met))}
