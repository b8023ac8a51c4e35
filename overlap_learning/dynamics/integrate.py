"""integrate: the learning of a network, in overlap space."""

import contextlib
from typing import Any

import jax

from overlap_learning.checks import is_traced, require_float64
from overlap_learning.dynamics.learners import learner_of
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.learning.checkpoint import Checkpoint, Store
from overlap_learning.learning.driver import check_run, run
from overlap_learning.learning.pace import Pace, watched
from overlap_learning.learning.rules import AbstractRule
from overlap_learning.learning.solution import Solution, finish
from overlap_learning.model.bulk import bulk_rate
from overlap_learning.model.bulk_network import BulkNetwork
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.model.populations import Populations
from overlap_learning.model.reduced_network import ReducedNetwork
from overlap_learning.random_connectivity.learning import Depth, learn_with_bulk
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task


def integrate(
    model: Model,
    task: Task | TaskStream,
    overlaps: Overlaps | Populations | BulkNetwork | ReducedNetwork,
    rule: AbstractRule,
    key: jax.Array | None = None,
    *,
    depth: Depth | None = None,
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

    With a bulk, `W = W0 + u v^T / N`, and linear phi the network that learns is again one of a few deterministic
    neurons: words in W0 and W0^T, applied to the vectors, have known inner products for N to infinity (and in one given
    W0, `ol.BulkNetwork`, those they have). W learns beside the vectors if the rule has a rate for it,
    `rates={"W": 1.0}`. Overlaps then depend on more than overlaps: `final` is a `ReducedNetwork`, which goes on from
    there.

    Args:
        model: the `Model`.
        task: a `Task` (fixed batch) or, for rules in steps, a `TaskStream` (fresh batch each step).
        overlaps: the start: `Overlaps`, or `Populations`, each of which stays Gaussian on its own; with a bulk
            `Overlaps` (N to infinity), one `BulkNetwork`, or the `final` of an earlier run.
        rule: `GradientFlow`, `GradientDescent` or `DirectDescent`.
        key: a jax random key; needed for a stream, for minibatches and for label noise. `ol.train` draws the same
            trials from the same key.
        depth: with a bulk, how far into it the theory looks; None: `ol.random_connectivity.Depth()`, for errors of
            overlaps of at most 1e-3. `stats["bulk_error"]` has the estimate.
        throw: raise an error if learning ends badly; False: return the solution up to there, with its result code.
        checkpoint: where to write down, every so many steps, where the run is: the same call then goes on from there
            after the program was killed. Not with a flow.

    Returns:
        A `Solution`; its `final` is the learned `Overlaps`; with a bulk a `ReducedNetwork`. Where W learned,
        `singular_values` and `change_norm` are those of its change.

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
        return learn_with_bulk(
            model, task, overlaps, rule, key, depth=depth, throw=throw, checkpoint=checkpoint
        )  # fmt: skip
    if depth is not None:
        raise ValueError("integrate: depth is how far the theory looks into a bulk, and this model has none.")
    kind = _check(model, task, overlaps, rule, key)
    if bulk_rate(rule.rates)[1] is not None:
        raise ValueError(
            'integrate: rates["W"] is a rate of the bulk, and this model has none: ol.Model(layout, activation, '
            "bulk=ol.RandomBulk(g)); g = 0 is a W that begins at 0."
        )
    store = None
    if checkpoint is not None:
        store = Store(checkpoint, "integrate", model=model, task=task, overlaps=overlaps, rule=rule, key=key)
    learner, position = kind.begin(model, overlaps, model.layout.known_rates(rule.rates))
    with _pace(model, rule, store, (overlaps, rule, task, key)) as pace:
        outcome, final = run(learner, rule, task, position, key, None, pace)
    return finish(model, outcome, final, "integrate", throw=throw)


def _check(
    model: Model, task: Task | TaskStream, start: Overlaps | Populations, rule: AbstractRule, key: jax.Array | None
) -> Any:
    """Refuse arguments that do not fit together, before anything is compiled; the class of learner for them.

    Raises:
        ValueError: naming the argument, what it was and what is allowed.
    """
    if not isinstance(start, Populations):
        check_layout(model, start, "integrate")
    check_run(model, task, rule, key, "integrate")
    if start.layout != model.layout:
        raise ValueError(f"integrate: populations have {start.layout}, the model has {model.layout}.")
    if isinstance(start, Populations) and rule.dense:
        raise ValueError("integrate: dense=True keeps the overlaps of one population; save chosen times with save_at.")
    return learner_of(start, rule.motion, "integrate")


def _pace(
    model: Model, rule: AbstractRule, store: Store | None, arguments: Any
) -> contextlib.AbstractContextManager[Pace]:
    """Short runs are one program; of long ones, a run that ends early wastes what is left of one call."""
    if store is not None:
        return watched(rule, False, "integrate", store)
    most = _steps_per_call(model)
    whole = rule.n_steps is None or rule.n_steps <= most or is_traced(arguments)
    return contextlib.nullcontext(Pace(is_whole=True) if whole else Pace(most))


def _steps_per_call(model: Model) -> int:
    """Steps of one compiled call, of which a run that ends early wastes some."""
    return 5000 if model.is_linear else 500
