"""integrate: the learning of a network, in overlap space."""

from contextlib import nullcontext
from typing import Any

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
from overlap_learning.dynamics.rules import AbstractDescent, AbstractRule, DirectDescent, Optimiser
from overlap_learning.dynamics.run import calls_of, check_run, follow
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
    key = check_run(model, task, rule, key, "integrate")
    diffuses = isinstance(rule, AbstractDescent) and rule.parameter_noise is not None
    if diffuses and getattr(rule, "momentum", None) is not None:
        raise ValueError(
            "integrate: parameter_noise with momentum needs the overlaps of noise and velocity too, which are not "
            "followed. Use momentum=0, or run it at full N: ol.train(model, task, network, rule, key)."
        )
    store = None
    if checkpoint is not None:
        store = Store(checkpoint, "integrate", model=model, task=task, overlaps=overlaps, rule=rule, key=key)
    traced = is_traced(overlaps, rule, task, key)
    calls = {} if traced or not isinstance(rule, AbstractDescent) else {"steps_per_call": _steps_per_call(model)}
    with nullcontext(calls) if store is None else calls_of(rule, False, "integrate", store) as calls:
        if isinstance(overlaps, Populations):
            return _integrate_populations(model, task, overlaps, rule, key, throw, calls)
        return _integrate_overlaps(model, task, overlaps, rule, key, throw, calls)


def _steps_per_call(model: Model) -> int:
    """Steps of one compiled call, of which a run that ends early wastes some."""
    return 5000 if model.is_linear else 500


def _integrate_overlaps(
    model: Model,
    task: Task | TaskStream,
    overlaps: Overlaps,
    rule: AbstractRule,
    key: jax.Array,
    throw: bool,
    calls: dict[str, Any],
) -> Solution:
    # Overlaps of a network in single precision are a usual start.
    overlaps = with_gram(overlaps, overlaps.gram.astype(float))
    layout = model.layout
    rates = layout.rates(getattr(rule, "rates", None))
    learner: AbstractLearner
    if isinstance(rule, DirectDescent):
        learner, position = DirectLearner(model, layout.rates()), overlaps.gram
    elif isinstance(rule, AbstractDescent) and rule.parameter_noise is not None:
        learner, position = FactorLearner(model, rates), gram_factor(overlaps.gram)
    else:
        learner = TransferLearner(model, rates, overlaps.gram)
        position = jnp.eye(layout.size, dtype=overlaps.gram.dtype)
    outcome = follow(learner, rule, task, position, key, **calls)
    stats = outcome.stats | _gain_stats(model, task, overlaps.gram, learner.gram(outcome.position), key)
    return finish(model, outcome, with_gram(overlaps, learner.gram(outcome.position)), stats, throw=throw)


def _integrate_populations(
    model: Model,
    task: Task | TaskStream,
    populations: Populations,
    rule: AbstractRule,
    key: jax.Array,
    throw: bool,
    calls: dict[str, Any],
) -> Solution:
    if populations.layout != model.layout:
        raise ValueError(f"integrate: populations have {populations.layout}, the model has {model.layout}.")
    if isinstance(rule, DirectDescent) or getattr(rule, "parameter_noise", None) is not None:
        raise ValueError(
            "integrate: populations learn by GradientFlow or GradientDescent without parameter_noise; direct descent "
            "and parameter noise are for ol.Overlaps."
        )
    if getattr(rule, "dense", False):
        raise ValueError("integrate: dense=True keeps the overlaps of one population; save chosen times with save_at.")
    populations = jax.tree.map(lambda array: array.astype(float), populations)
    rates = jnp.concatenate([jnp.zeros(1), model.layout.rates(getattr(rule, "rates", None))])
    learner = MixtureLearner(model, rates, populations.moments, populations.fractions)
    start = jnp.broadcast_to(jnp.eye(len(rates)), learner.start.shape)
    outcome = follow(learner, rule, task, start, key, **calls)
    final = from_moments(populations, learner.moments(outcome.position))
    return finish(model, outcome, final, outcome.stats, throw=throw)


@eqx.filter_jit
def _gain_stats(
    model: Model, task: Task | TaskStream, first: jax.Array, last: jax.Array, key: jax.Array
) -> dict[str, jax.Array]:
    """The largest field variance at the start and the end of learning, and the largest error of the gain."""
    if model.is_linear:
        return {}
    batch = task.sample(key) if isinstance(task, TaskStream) else task
    met = jnp.stack([reduced_variance(model, gram, batch) for gram in (first, last)])
    return {"field_variance": jnp.max(met), "gain_error": jnp.max(model.activation.gain_error(met))}
