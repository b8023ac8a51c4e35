"""Learning with a bulk: the theory's runs in a few directions, and in more of them until the error is small."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO

from overlap_learning.checks import count, is_traced, scalar
from overlap_learning.learning.checkpoint import Checkpoint, Store
from overlap_learning.learning.driver import run
from overlap_learning.learning.outcomes import LearningError
from overlap_learning.learning.pace import Pace, watched
from overlap_learning.learning.progress import DELAY
from overlap_learning.learning.rules import AbstractRule, Motion
from overlap_learning.learning.solution import Solution, finish
from overlap_learning.model.bulk import AbstractBulk, RandomBulk, SparseBulk, bulk_rate
from overlap_learning.model.bulk_network import BulkNetwork
from overlap_learning.model.factor import gram_factor
from overlap_learning.model.model import Model, refuse_ties
from overlap_learning.model.network import triangular_factor
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.model.reduced_network import ReducedNetwork
from overlap_learning.random_connectivity.learner import CHANGE, KEPT, VECTORS, ReducedLearner
from overlap_learning.random_connectivity.words import ROUNDING, FreeWords, GivenWords, Reduced, reduce

#: Directions for each start vector in the first run; each further run has this many times as many.
FEWEST, GROWTH = 16, 1.5
#: Steps of one compiled call.
STEPS_PER_CALL = 500


class Depth:
    """How far into the bulk the theory looks: the directions it keeps are those that learning reaches first.

    Directions are words in W0 and W0^T applied to the vectors. Runs in 16 directions for each vector, 24, 36, ... are
    compared, until the largest difference of an overlap (and of the size of the change of W) is at most the tolerance.
    That is an estimate and no bound: the run that is returned was closer than stated in most cases that were looked at.

    Args:
        tolerance: the largest error, of overlaps in absolute terms.
        most: directions for each vector in the largest run.

    Raises:
        ValueError: if an argument is out of range.

    Examples:
        >>> ol.random_connectivity.Depth(tolerance=1e-4)
        Depth(tolerance=0.0001, most=128)
    """

    def __init__(self, tolerance: float = 1e-3, most: int = 128):
        scalar(tolerance, "Depth: tolerance", "positive", 0)
        # Of what was passed: what is checked within jit is traced.
        self.tolerance = float(tolerance)
        self.most = count(most, "Depth: most", 2)

    def __repr__(self) -> str:
        return f"Depth(tolerance={self.tolerance:g}, most={self.most})"

    @property
    def runs(self) -> list[int]:
        """The directions for each vector of one run after another; two at least."""
        numbers = [min(FEWEST, max(1, int(self.most / GROWTH)))]
        while numbers[-1] < self.most:
            numbers.append(min(self.most, int(numbers[-1] * GROWTH) + 1))
        return numbers


class _Run(NamedTuple):
    """A run in some directions."""

    outcome: Any
    final: ReducedNetwork


def learn_with_bulk(
    model: Model,
    task: Any,
    start: Any,
    rule: AbstractRule,
    key: jax.Array | None,
    *,
    depth: Depth | None,
    throw: bool,
    progress: bool | None,
    checkpoint: Checkpoint | None,
) -> Solution:
    """`ol.integrate` of a linear network with a bulk, of arguments that fit together.

    Raises:
        ValueError: if the theory does not hold for them; the message says what does.
        LearningError: if learning ended badly or the error is above the tolerance, and throw.
    """
    refuse_ties(model, "integrate with a bulk")
    _check(model, start, rule)
    depth = Depth() if depth is None else depth
    if not isinstance(depth, Depth):
        raise ValueError(f"integrate: depth must be ol.random_connectivity.Depth(tolerance, most), got {depth!r}.")
    traced = is_traced(start, rule, task, key)
    coarse: _Run | None = None
    fine: _Run | None = None
    error: Any = jnp.inf
    for i, (network, is_whole) in enumerate(_spaces(model, start, depth, traced)):
        store = None
        if checkpoint is not None:
            arguments = {"model": model, "task": task, "network": network, "rule": rule, "key": key}
            store = Store(checkpoint.part(f"run-{i}"), "integrate", **arguments)
        coarse, fine = fine, _run(network, task, rule, key, progress, store, traced)
        if is_whole:
            # Weights are squares.
            coarse, error = None, jnp.asarray(np.sqrt(ROUNDING))
        elif coarse is not None:
            error = _difference(coarse.outcome, fine.outcome)
        if not traced and float(error) <= depth.tolerance:
            break
    assert fine is not None
    final = fine.final
    if coarse is not None:
        final = eqx.tree_at(lambda n: n.coarse, final, coarse.final, is_leaf=lambda x: x is None)
    stats = fine.outcome.stats | {"directions": jnp.asarray(len(final.vectors)), "bulk_error": error}
    outcome = eqx.tree_at(lambda o: o.stats, fine.outcome, stats)
    solution = finish(model, outcome, final, "integrate", throw=throw)
    if throw and not traced and not float(error) <= depth.tolerance:
        raise LearningError(
            f"integrate: overlaps differ by {float(error):.2g} between the two runs with the most directions, which is "
            f"above the tolerance of {depth!r}. Allow more directions or a larger error: "
            "ol.integrate(..., depth=ol.random_connectivity.Depth(tolerance=..., most=...)); or train at full N. "
            "`.solution` is the better one of the two; throw=False returns it.",
            solution,
        )
    return solution


def limit_of(bulk: AbstractBulk) -> tuple[float, float]:
    """Strength g and symmetry tau of the elliptic element that a bulk is for N to infinity.

    Raises:
        ValueError: if it has no such limit, is unstable, or not known yet.
    """
    if not isinstance(bulk, (RandomBulk, SparseBulk)):
        raise ValueError(
            f"integrate: {type(bulk).__name__} has no deterministic limit of N to infinity: sums over its rows stay "
            "random. Take one draw: ol.integrate(model, task, ol.BulkNetwork.sample(model, overlaps, n_neurons, "
            "key=key), rule)."
        )
    if is_traced(bulk):
        raise ValueError(
            "integrate: the strength of a bulk has to be known, as it says which directions are kept; sweep over it "
            "with ol.sweep or a loop, not under jax.vmap or jit."
        )
    g, tau = float(bulk.g), float(bulk.symmetry) if isinstance(bulk, RandomBulk) else 0.0
    edge = g * (1 + tau)
    if edge >= 1:
        raise ValueError(
            f"integrate: with g = {g:g} and tau = {tau:g} eigenvalues of W0 reach to g (1 + tau) = {edge:g}; from 1 "
            "on the activity of a linear network grows without bound, the more so the longer a trial is. Use a smaller "
            "g. A network of N neurons can be trained on trials of finite length all the same, and a nonlinear one "
            "stays bounded: ol.train(model, task, ol.BulkNetwork.sample(model, overlaps, n_neurons, key=key), rule)."
        )
    return g, tau


def _check(model: Model, start: Any, rule: AbstractRule) -> None:
    """Refuse what the theory of a bulk does not hold for.

    Raises:
        ValueError: saying why, and what does it.
    """
    full = "ol.train(model, task, ol.BulkNetwork.sample(model, overlaps, n_neurons, key=key), rule)"
    if not model.is_linear:
        raise ValueError(
            f"integrate: with a bulk the theory is that of linear networks; {type(model.activation).__name__} makes "
            "neurons depend on W0 in more than overlaps, and no small network is known that does the same. Train at "
            f"full N: {full}."
        )
    if not isinstance(start, (Overlaps, BulkNetwork, ReducedNetwork)):
        raise ValueError(
            "integrate: with a bulk the start must be ol.Overlaps (N to infinity), an ol.BulkNetwork (one W0) or the "
            f"final of an earlier run, got {type(start).__name__}."
        )
    if start.layout != model.layout:
        raise ValueError(f"integrate: the start has {start.layout}, the model has {model.layout}.")
    if rule.motion is not Motion.LINEAR:
        raise ValueError(
            f"integrate: with a bulk, rules are GradientFlow and GradientDescent without parameter_noise, got "
            f"{type(rule).__name__}; whatever else moves neurons one by one needs all of them: {full}."
        )
    if rule.dense:
        raise ValueError("integrate: dense=True is not for a model with a bulk; save chosen times with save_at.")


class _Space(NamedTuple):
    """A network in some directions, and whether there are no others."""

    network: ReducedNetwork
    is_whole: bool


def _spaces(model: Model, start: Any, depth: Depth, traced: bool) -> Iterator[_Space]:
    """Networks in more and more directions, until there are no others; under jit the first two."""
    if isinstance(start, ReducedNetwork):
        # What it has gone through, it has gone through in these directions.
        if start.coarse is not None:
            yield _Space(start.coarse, False)
        alone = eqx.tree_at(lambda n: n.coarse, start, None, is_leaf=lambda x: x is None)
        yield _Space(alone, start.coarse is None)
        return
    if isinstance(start, BulkNetwork):
        frame, vectors = _frame(start)
        bulk = _known_bulk(start)
        copies = 1

        def reduced(n):
            return reduce(GivenWords(bulk, frame), n * frame.shape[1])
    else:
        if model.bulk is None:
            raise ValueError("integrate: this start needs a model with a bulk: ol.Model(..., bulk=ol.RandomBulk(g)).")
        limit = limit_of(model.bulk)
        factor = _factor(start.gram.astype(float)) if is_traced(start) else triangular_factor(start)
        vectors = jnp.asarray(factor, float)
        copies = len(vectors)

        def reduced(n):
            return _limit(*limit, n)

    runs = [reduced(n) for n in depth.runs[:2]]
    # Padded to the size of the second, the first run is the same compiled program.
    size = len(runs[1].bulk)
    for i, n in enumerate(depth.runs[: 2 if traced else None]):
        found = runs[i] if i < 2 else reduced(n)
        initial = jnp.pad(jnp.asarray(found.bulk), (0, max(0, size - len(found.bulk))))
        # The first directions are the start vectors; those of words in W0 come after.
        there = jnp.pad(vectors, ((0, copies * len(initial) - len(vectors)), (0, 0)))
        yield _Space(ReducedNetwork(there, model.layout, initial, jnp.ones(())), found.is_whole)
        if found.is_whole:
            return


@functools.lru_cache(maxsize=64)
def _limit(g: float, tau: float, n_directions: int) -> Reduced:
    return reduce(FreeWords(g, tau), n_directions)


@jax.custom_jvp
def _factor(gram: jax.Array) -> jax.Array:
    """F, shape [d, d], with `F^T F = G`. What is learned from it depends on G alone."""
    return gram_factor(gram)


@_factor.defjvp
def _(primals, tangents):
    # Of all dF with `dF^T F + F^T dF = dG` one that is defined where eigenvalues of G are equal, or 0.
    factor = _factor(*primals)
    return factor, jnp.linalg.pinv(factor).T @ tangents[0] / 2


def _frame(network: BulkNetwork) -> tuple[np.ndarray, jax.Array]:
    """Orthonormal directions of the vectors of N neurons, shape [N, r], and the vectors in them, [r, d].

    Raises:
        ValueError: if it is a batch, or not known yet.
    """
    if is_traced(network):
        raise ValueError("integrate: an ol.BulkNetwork has to be known; call ol.integrate outside jit and vmap.")
    if network.vectors.ndim > 2:
        raise ValueError(
            f"integrate: vectors {list(network.vectors.shape)} are those of several networks; pass one after another."
        )
    vectors = np.asarray(network.vectors, float) / np.sqrt(network.n_neurons)
    axes, sizes, _ = np.linalg.svd(vectors, full_matrices=False)
    # Of no vectors at all one direction is left, so that there is a neuron.
    frame = axes[:, : max(1, int(np.sum(sizes > 1e-12 * sizes[0])))]
    return frame, jnp.asarray(frame.T @ vectors)


def _known_bulk(network: BulkNetwork) -> Any:
    """W in numpy, or in scipy if it is sparse."""
    bulk = network.bulk
    if not isinstance(bulk, BCOO):
        return np.asarray(bulk, float)
    from scipy.sparse import coo_array

    return coo_array((np.asarray(bulk.data, float), np.asarray(bulk.indices).T), shape=bulk.shape).tocsr()


def learner_at_start(
    model: Model, start: Any, rule: AbstractRule, n_directions: int
) -> tuple[ReducedLearner, dict[str, Any]]:
    """What `learn_with_bulk` moves, and where it starts, in the directions of a run: its `stats["directions"]`."""
    spaces = _spaces(model, start, Depth(), False)
    return _learner(next(s.network for s in spaces if len(s.network.vectors) == n_directions), rule)


def _learner(network: ReducedNetwork, rule: AbstractRule) -> tuple[ReducedLearner, dict[str, Any]]:
    """What moves, and where it starts."""
    named, rate = bulk_rate(rule.rates)
    rates: dict[str, Any] = {VECTORS: network.layout.rates(named)}
    position: dict[str, Any] = {VECTORS: network.vectors}
    if rate is not None:
        size = len(network.vectors)
        if network.change is None:
            nothing = jnp.zeros((size, size))
            network = eqx.tree_at(lambda n: n.change, network, nothing, is_leaf=lambda x: x is None)
        rates |= {CHANGE: rate.astype(float), KEPT: rate.astype(float)}
        position |= {CHANGE: network.change, KEPT: network.kept}
    return ReducedLearner(rates, network), position


def _run(
    network: ReducedNetwork,
    task: Any,
    rule: AbstractRule,
    key: jax.Array | None,
    progress: bool | None,
    store: Store | None,
    traced: bool,
) -> _Run:
    """Learning in some directions."""
    learner, position = _learner(network, rule)
    short = rule.n_steps is None or rule.n_steps <= STEPS_PER_CALL or traced
    whole = store is None and short
    one_call = contextlib.nullcontext(Pace(is_whole=True))
    with one_call if whole else watched(rule, progress, "integrate", store, delay=DELAY) as pace:
        outcome, final = run(learner, rule, task, position, key, None, pace)
    return _Run(outcome, final)


@jax.jit
def _difference(coarse: Any, fine: Any) -> jax.Array:
    """The largest difference of what was saved, at the points that both runs reached; inf if they ended differently."""
    one, other = coarse.record, fine.record
    both = one.time == other.time

    def largest(name):
        apart = jnp.abs(one.saved[name] - other.saved[name]).reshape(len(both), -1)
        return jnp.max(jnp.where(both[:, None], apart, 0.0))

    error = jnp.max(jnp.stack([largest(name) for name in ("gram", "change_norm") if name in other.saved]))
    return jnp.where(coarse.result == fine.result, error, jnp.inf)
