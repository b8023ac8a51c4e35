"""integrate: the learning of a network, in overlap space."""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from overlap_learning.checks import assembled, is_traced, require_float64
from overlap_learning.dynamics.closures import AbstractClosure, Cheapest, Gaussian, Pair, Start, known_closure
from overlap_learning.dynamics.departure import can_drift, departure, departure_in_one, followed_closely, is_known
from overlap_learning.dynamics.learners import LEARNERS, learner_of
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.guides import guide
from overlap_learning.learning.checkpoint import Checkpoint, Store, part_of
from overlap_learning.learning.driver import check_run, run
from overlap_learning.learning.learner import AbstractLearner
from overlap_learning.learning.outcomes import RESULTS, is_one_of
from overlap_learning.learning.pace import Pace, watched
from overlap_learning.learning.progress import DELAY
from overlap_learning.learning.record import Outcome, taken
from overlap_learning.learning.rules import AbstractRule
from overlap_learning.learning.solution import Solution, finish, has_failed
from overlap_learning.learning.stability import rise
from overlap_learning.learning.trials import Trials
from overlap_learning.learning.trust import DOUBT, TRUST, beside, compared, corrected
from overlap_learning.model.activity import check_channels
from overlap_learning.model.bulk import bulk_rate
from overlap_learning.model.bulk_network import BulkNetwork
from overlap_learning.model.model import (
    Model,
    check_model,
    check_tied,
    known_rates,
    refuse_ties,
    refuse_time_constants,
)
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.model.populations import Populations
from overlap_learning.model.reduced_network import ReducedNetwork
from overlap_learning.random_connectivity.learning import Depth, learn_with_bulk
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task

#: How a run went, what was learned, and what learned.
Learned = tuple[Outcome, Any, AbstractLearner]
#: The tolerances, relative and absolute, of neurons that flow beside a run: some, of ReLU, pass many kinks.
ROUGH = (1e-5, 1e-7)


def integrate(
    model: Model,
    task: Task | TaskStream,
    overlaps: Overlaps | Populations | Network | BulkNetwork | ReducedNetwork,
    rule: AbstractRule,
    key: jax.Array | None = None,
    *,
    closure: AbstractClosure | None = None,
    trust: bool = True,
    depth: Depth | None = None,
    throw: bool = True,
    progress: bool | None = None,
    checkpoint: Checkpoint | None = None,
) -> Solution:
    """The theory: how learning moves the overlaps, from the overlaps alone.

    Gradient descent on the N x d vectors V acts on them from the right, `V(tau) = V(0) M(tau)`, so the d x d matrix M,
    and with it `G = M^T G(0) M`, follows a small closed system: exactly for linear networks of every N, for nonlinear
    ones in a closure. The default one takes neurons to stay Gaussian: an approximation that drifts as training goes on.
    `Solution.trust` says how far it is off on this task; `closure=ol.Cheapest(0.05)` looks for one that is not.

    With a bulk, `W = W0 + u v^T / N`, and linear phi the network that learns is again one of a few deterministic
    neurons: words in W0 and W0^T, applied to the vectors, have known inner products for N to infinity (and in one given
    W0, `ol.BulkNetwork`, those they have). W learns beside the vectors if the rule has a rate for it,
    `rates={"W": 1.0}`. Overlaps then depend on more than overlaps: `final` is a `ReducedNetwork`, which goes on from
    there.

    Args:
        model: the `Model`.
        task: a `Task` (fixed batch) or, for rules in steps, a `TaskStream` (fresh batch each step).
        overlaps: the start: `Overlaps`, or `Populations`, each of which stays Gaussian on its own; or a `Network`, of
            which its own neurons learn unless there is a closure. With a bulk `Overlaps` (N to infinity), one
            `BulkNetwork`, or the `final` of an earlier run.
        rule: `GradientFlow`, `GradientDescent` or `DirectDescent`; for weighted neurons `Optimiser` too.
        key: a jax random key; needed for a stream, for minibatches and for label noise. `ol.train` draws the same
            trials from the same key.
        closure: what follows nonlinear neurons: `ol.Gaussian()`, `ol.WeightedNeurons(nodes)`, or, to have one chosen,
            `ol.Cheapest(tolerance)`; None: the Gaussian one, and of a `Network` its own neurons.
        trust: whether `Solution.trust` estimates what a nonlinear closure is off by, from weighted neurons that learn
            beside it: beside a Gaussian one some 50, in single precision. How they leave the theory is followed in
            twelve long steps, and in all steps only if it is then off by a half or more (not inside jit or vmap). With
            label noise, and on a stream that is clipped or short, they learn twice by the rule itself, at several times
            the cost. Not with direct descent, nor with noise on parameters or states.
        depth: with a bulk, how far into it the theory looks; None: `ol.random_connectivity.Depth()`, for errors of
            overlaps of at most 1e-3. `stats["bulk_error"]` has the estimate.
        throw: raise an error if learning ends badly; False: return the solution up to there, with its result code.
        progress: show a progress bar; None: if a person is watching (a terminal or a notebook). A run of less
            than a second has none, nor one of at most 5,000 steps (500 if nonlinear) without a checkpoint, nor, unless
            it is asked for, a flow in a terminal.
        checkpoint: where to write down, every so many steps, where the run is: the same call then goes on from there
            after the program was killed. Not with a flow.

    Returns:
        A `Solution`; its `final` is the learned `Overlaps`, `Populations` or, of weighted neurons, `Network`; with a
        bulk a `ReducedNetwork`. Where W learned, `singular_values` and `change_norm` are those of its change.

    Raises:
        ValueError: if the arguments do not fit together, the rule does not close in overlap space, or the checkpoint is
            that of another run.
        LearningError: if learning diverged or the solver failed, and throw.
        LearningInterrupted: on Ctrl-C in a run with checkpoints; `.solution` holds what was saved.
        OSError: if a checkpoint can't be written.
        RuntimeError: if jax is not in 64-bit mode.

    Source: Ger & Barak 2026, eqs. 6 to 9; theory page, eqs. (6) to (8), and section 9 for a bulk.

    Examples:
        >>> model = ol.Model(ol.Layout(n_in=1, rank=1, n_out=1), ol.Linear())
        >>> task = ol.tasks.exponential_filter(decay=0.2)
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> solution = ol.integrate(model, task, start, ol.GradientDescent(learning_rate=5e-3, n_steps=2000))
        >>> bool(solution.loss[-1] < 1e-3)
        True

        With a bulk:

        >>> with_bulk = ol.Model(model.layout, ol.Linear(), bulk=ol.RandomBulk(0.4))
        >>> rule = ol.GradientDescent(learning_rate=5e-3, n_steps=20, rates={"W": 1.0})
        >>> solution = ol.integrate(with_bulk, ol.tasks.exponential_filter(duration=4.0), start, rule)
        >>> solution.singular_values.shape, bool(solution.stats["bulk_error"] < 1e-3)
        ((21, 8), True)
    """
    require_float64("ol.integrate", model=model, task=task, overlaps=overlaps, rule=rule)
    if (isinstance(model, Model) and model.bulk is not None) or isinstance(overlaps, (BulkNetwork, ReducedNetwork)):
        check_run(model, task, rule, key, "integrate", with_bulk=True)
        # Elsewhere `check_model` does.
        refuse_time_constants(model, "integrate")
        return learn_with_bulk(
            model, task, overlaps, rule, key, depth=depth, throw=throw, progress=progress, checkpoint=checkpoint
        )  # fmt: skip
    if depth is not None:
        raise ValueError("integrate: depth is how far the theory looks into a bulk, and this model has none.")
    _check(model, task, overlaps, rule, key, closure)
    overlaps = check_tied(model, overlaps, "integrate")
    if closure is None and (model.is_linear or isinstance(overlaps, Network)):
        # What is exact needs no closure, and nothing beside it.
        found = _learned(model, task, overlaps, rule, key, overlaps, progress, checkpoint)
    else:
        closure, closely, own = known_closure(closure), rule, None
        # What few points are saved of is followed at more, by which it is known what departs from it. A checkpoint
        # holds what is saved, and is that of the rule which a person gave.
        is_beside = not model.is_linear and (trust or isinstance(closure, Cheapest))
        if is_beside and can_drift(rule, task) and checkpoint is None:
            closely, own = followed_closely(rule)
        found = _closed(model, task, overlaps, closely, key, closure, trust, progress, checkpoint)
        if own is not None:
            found = dataclasses.replace(found[0], record=taken(found[0].record, own)), found[1], found[2]
    outcome, final, learner = found
    return finish(model, outcome, final, "integrate", throw=throw, look=lambda: rise(outcome, learner, rule, task))


def _learned(
    model: Model,
    task: Task | TaskStream,
    start: Start,
    rule: AbstractRule,
    key: jax.Array | None,
    given: Start,
    progress: bool | None,
    checkpoint: Checkpoint | None,
    closure: AbstractClosure | None = None,
    change: Callable[[Any], Any] | None = None,
) -> Learned:
    """How learning went from a start, which is `given` in a closure, what was learned, and what learned.

    A learner may be changed into another before it begins.

    Raises:
        ValueError: if nothing follows this start under this rule.
    """
    kind = learner_of(start, rule.motion, "integrate")
    store = None
    if checkpoint is not None:
        arguments = {"model": model, "task": task, "overlaps": given, "rule": rule, "key": key}
        store = Store(checkpoint, "integrate", **arguments, **({} if closure is None else {"closure": closure}))
    learner, position = kind.begin(model, start, known_rates(model, rule.rates))
    learner = learner if change is None else change(learner)
    with _pace(model, rule, progress, store, (start, rule, task, key)) as pace:
        outcome, final = run(learner, rule, task, position, key, None, pace)
    return outcome, final, learner


def _closed(
    model: Model,
    task: Task | TaskStream,
    start: Start,
    rule: AbstractRule,
    key: jax.Array | None,
    closure: AbstractClosure,
    trust: bool,
    progress: bool | None,
    checkpoint: Checkpoint | None,
) -> Learned:
    """The same in a closure, with what neurons beside it did."""
    starts = closure.starts(model, task, start, key)
    found = _learned(model, task, cast(Start, next(starts)), rule, key, start, progress, checkpoint, closure)
    tolerance = closure.tolerance if isinstance(closure, Cheapest) else None
    is_followed = not isinstance(LEARNERS[Network, rule.motion], str) and task.outline.state_noise is None
    if model.is_linear or (tolerance is None and not (trust and is_followed)):
        return found
    alone = _alone(rule, exact=tolerance is not None)
    # The closure that is held against the next one, the one before it, and those that were.
    candidate: Learned | None = found
    before, judged = found, []
    for number, finer in enumerate(starts):
        if _is_interrupted(found[0]):
            return found
        others: list[Learned] = []
        estimated = _departed(model, task, rule, key, finer, found) if isinstance(finer, Pair) else None
        if estimated is None:
            given = (model, task, alone, key, start, finer)
            *given, finer = jax.tree.map(_constant, given) if is_traced(given) else given
            others = _beside(*given, finer, progress, checkpoint, closure, number)
            for outcome, _, _ in others:
                if _is_interrupted(outcome):
                    return eqx.tree_at(lambda o: o.result, found[0], outcome.result), found[1], found[2]
            if candidate is not None:
                estimated = _judged(candidate, others, finer.inflation if isinstance(finer, Pair) else None)
        if estimated is not None:
            judged.append(estimated)
            before = found
            if tolerance is None or _error(estimated[0]) <= float(tolerance):
                return estimated
        if isinstance(start, Network):
            # Its own neurons, beside which nothing is finer.
            return others[0]
        # A pair is no closure.
        candidate = None if isinstance(finer, Pair) else others[0]
        found = found if candidate is None else candidate
    best = min(_judged(found, [before]), judged[0], key=lambda run: _error(run[0]))
    what = f"of {best[1].n_neurons} weighted neurons" if isinstance(best[1], Network) else "the Gaussian one"
    warnings.warn(
        f"integrate: no closure meets the tolerance {float(tolerance or 0):g}. The best, {what}, is "
        f"{_error(best[0]):.2g} off what it was held against. Networks may part from each other here, too: look for a "
        f"loss that rises, and use a smaller learning rate.{guide('closure')}",
        stacklevel=3,
    )
    return best


def _alone(rule: Any, *, exact: bool) -> Any:
    """The rule of neurons beside a run: of a flow, to no more digits than an estimate needs, if it is none but that."""
    if rule.n_steps is not None:
        return rule
    rough = {} if exact else {"rtol": jnp.maximum(rule.rtol, ROUGH[0]), "atol": jnp.maximum(rule.atol, ROUGH[1])}
    return assembled(type(rule), **(vars(rule) | {"dense": False} | rough))


def _beside(
    model: Model,
    task: Task | TaskStream,
    rule: AbstractRule,
    key: jax.Array | None,
    given: Start,
    finer: Start | Pair,
    progress: bool | None,
    checkpoint: Checkpoint | None,
    closure: AbstractClosure,
    number: int,
) -> list[Learned]:
    """Neurons beside a run; of a pair as they learn, and kept Gaussian."""

    def learned(start, name, change=None):
        where = part_of(checkpoint, f"{name}_{number}")
        return _learned(model, task, start, rule, key, given, progress, where, closure, change)

    if not isinstance(finer, Pair):
        return [learned(finer, "beside")]

    def keeping(share):
        return lambda _: finer.learner(model, rule.rates, jnp.asarray(share))

    return [learned(finer.network, name, keeping(share)) for name, share in (("beside", 1.0), ("gaussian", 0.0))]


def _departed(
    model: Model, task: Task | TaskStream, rule: AbstractRule, key: jax.Array | None, pair: Pair, found: Learned
) -> Learned | None:
    """A run with what it would be without its error, as long steps of neurons say.

    None where those are none for this rule, or where they see the theory fail: every step is then worth its time.
    Inside jit that is not seen, and they have the last word.
    """
    outcome = found[0]
    if not can_drift(rule, task) or not is_known(outcome.record):
        return None
    failed = has_failed(outcome.result)
    if not is_traced(failed) and failed:
        return None
    learner = pair.learner(model, rule.rates, None)
    # With a key of which nothing is drawn, the same would be another program.
    trials = Trials(task, key if isinstance(task, TaskStream) else None)
    given = (found[2], learner, pair.spanning, rule, trials, outcome.record)
    given = cast(Any, jax.tree.map(_constant, given))
    follow = departure_in_one if is_traced(given) else departure
    free, closed = follow(*given)
    estimate = corrected(outcome.record, free, closed, pair.inflation)
    if is_traced(estimate):
        estimate = jax.tree.map(lambda array: jnp.where(failed, jnp.nan, array), estimate)
        return _with(found, estimate, pair.network)
    said = compared(outcome.record.time, outcome.record.loss, outcome.record.saved | estimate)
    return _with(found, estimate, pair.network) if said.verdict in (TRUST, DOUBT) else None


def _judged(found: Learned, others: list[Learned], scale: Any = None) -> Learned:
    """A run with the overlaps and the loss that neurons beside it stand for.

    Args:
        found: the run.
        others: the neurons; two of a pair.
        scale: of what separates a pair.
    """
    outcome = found[0]
    failed = has_failed(outcome.result)
    saved = [beside(outcome.record, other[0].record, failed, has_failed(other[0].result)) for other in others]
    estimate = saved[0] if scale is None else corrected(outcome.record, saved[0], saved[1], scale)
    return _with(found, estimate, others[0][1])


def _with(found: Learned, estimate: dict[str, Any], network: Network) -> Learned:
    """A run with what is saved beside it, of a number of neurons."""
    outcome = found[0]
    stats = outcome.stats | {"neurons_beside": np.asarray(network.n_neurons)}
    record = dataclasses.replace(outcome.record, saved=outcome.record.saved | estimate)
    return dataclasses.replace(outcome, record=record, stats=stats), found[1], found[2]


def _error(judged: Outcome) -> float:
    """What a closure is off by, of overlaps or of the loss; infinite where it or its neighbour ended badly."""
    record = judged.record
    found = compared(record.time, record.loss, record.saved)
    largest = float(max(found.largest, found.loss_error))
    return largest if np.isfinite(largest) and not np.any(has_failed(judged.result)) else np.inf


def _is_interrupted(outcome: Outcome) -> bool:
    return not is_traced(outcome.result) and bool(np.any(is_one_of(outcome.result, RESULTS.interrupted)))


def _constant(leaf: Any) -> Any:
    """A leaf without its derivative: what learns beside a run is no part of it."""
    return lax.stop_gradient(leaf) if is_traced(leaf) else leaf


def _check(
    model: Model,
    task: Task | TaskStream,
    start: Start,
    rule: AbstractRule,
    key: jax.Array | None,
    closure: AbstractClosure | None,
) -> None:
    """Refuse arguments that do not fit together, before anything is compiled.

    Raises:
        ValueError: naming the argument, what it was and what is allowed.
    """
    # Overlaps are asked for first: to tell that a module is not of a class takes longer than that it is.
    if isinstance(start, Overlaps) or not isinstance(start, (Network, Populations)):
        check_layout(model, start, "integrate", with_ties=True)
    elif isinstance(start, Network):
        check_model(model, "integrate")
        check_channels(model.layout, task.outline, "integrate", network=start)
    check_run(model, task, rule, key, "integrate")
    if not isinstance(start, Overlaps) and start.layout != model.layout:
        raise ValueError(f"integrate: populations have {start.layout}, the model has {model.layout}.")
    if isinstance(start, Populations):
        refuse_ties(model, "integrate of populations")
    if not isinstance(start, Overlaps) and rule.dense:
        raise ValueError("integrate: dense=True keeps the overlaps of one population; save chosen times with save_at.")
    if bulk_rate(rule.rates)[1] is not None:
        raise ValueError(
            'integrate: rates["W"] is a rate of the bulk, and this model has none: ol.Model(layout, activation, '
            f"bulk=ol.RandomBulk(g)); g = 0 is a W that begins at 0.{guide('bulk')}"
        )
    if task.outline.state_noise is not None and (
        isinstance(start, Network) or not (closure is None or isinstance(closure, Gaussian))
    ):
        raise ValueError(
            "integrate: of state_noise the theory of Gaussian neurons knows alone: a few weighted neurons have noise "
            "that many would average out. Start from network.overlaps, without another closure; or train every neuron: "
            "ol.train(model, task, network, rule, key)."
        )


def _pace(
    model: Model, rule: AbstractRule, progress: bool | None, store: Store | None, arguments: Any
) -> contextlib.AbstractContextManager[Pace]:
    """Short runs are one program; of long ones, a run that ends early wastes what is left of one call."""
    if store is not None or (rule.n_steps is None and not is_traced(arguments)):
        return watched(rule, progress, "integrate", store, delay=DELAY)
    most = _steps_per_call(model)
    if rule.n_steps is None or rule.n_steps <= most or is_traced(arguments):
        return contextlib.nullcontext(Pace(is_whole=True))
    return watched(rule, progress, "integrate", steps_per_call=most, delay=DELAY)


def _steps_per_call(model: Model) -> int:
    """Steps of one compiled call, of which a run that ends early wastes some."""
    return 5000 if model.is_linear else 500
