"""Conserved: what gradient flow conserves, followed through runs of rules that do not."""

from typing import Any

import jax
import numpy as np

from overlap_learning.dynamics.integrate import integrate
from overlap_learning.dynamics.invariants import invariants
from overlap_learning.dynamics.laws import AbstractLaw
from overlap_learning.learning.rules import GradientDescent
from overlap_learning.learning.solution import Solution
from overlap_learning.model.factor import square_root
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.studies.memory.drift import Drift, invariant_drift
from overlap_learning.tasks.task import Task


def invariants_along(solution: Solution, rates: Any = None, law: AbstractLaw | None = None) -> jax.Array:
    """`ol.invariants`, or the numbers of one conservation law, at each saved point of a run.

    Args:
        solution: the run, of theory or full N.
        rates: relative learning rates P.
        law: such as `overlap_learning.dynamics.laws.Gauge()`; None: that of `ol.invariants`.

    Returns:
        The invariants, shape [S, n].

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.3, vm=0.2)
        >>> run = ol.integrate(model, ol.tasks.exponential_filter(), start, ol.GradientFlow(10.0))
        >>> values = ol.studies.invariants_along(run)
        >>> values.shape, bool(jnp.ptp(values, axis=0).max() < 1e-6)
        ((201, 4), True)
    """
    model: Any = solution.model
    if law is None:
        return jax.vmap(lambda overlaps: invariants(model, overlaps, rates))(solution.overlaps)
    speeds, layout = model.layout.rates(rates), model.layout
    return jax.vmap(lambda gram: law.charges(layout, square_root(gram), speeds).values)(solution.overlaps.gram)


def trace_along(solution: Solution) -> np.ndarray:
    """The sum of all invariants, `tr(Sign G)`, at each saved point, shape [S]."""
    layout = solution.overlaps.layout
    return np.einsum("sii,i->s", np.asarray(solution.overlaps.gram), layout.signature)


def drift_along(task: Task, solution: Solution, rule: Any, law: AbstractLaw | None = None) -> Drift:
    """The predicted `invariant_drift` at each saved point of a run.

    Args:
        task: the fixed batch that was learned.
        solution: the run.
        rule: its rule.
        law: as in `invariant_drift`.

    Returns:
        A `Drift` whose arrays have the saved points as their first axis; `accumulated` makes changes of the rates.

    Raises:
        ValueError: as of `invariant_drift`.
    """
    model: Any = solution.model
    return jax.vmap(lambda overlaps: invariant_drift(model, task, overlaps, rule, law=law))(solution.overlaps)


def accumulated(rate: jax.Array, time: jax.Array) -> np.ndarray:
    """What a rate adds up to since the start, at each time (trapezoidal rule).

    Args:
        rate: change per unit of learning time, shape [S, d].
        time: learning time, shape [S].

    Returns:
        The changes, shape [S, d].

    Examples:
        The drift by finite steps, predicted along a run and measured:

        >>> model, task = ol.Model(ol.Layout(), ol.Linear()), ol.tasks.exponential_filter(duration=5.0)
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.3, vm=0.2)
        >>> rule = ol.GradientDescent(1e-3, 100)
        >>> run = ol.integrate(model, task, start, rule)
        >>> predicted = ol.studies.accumulated(ol.studies.drift_along(task, run, rule).total, run.time)[-1]
        >>> measured = ol.studies.invariants_along(run)[-1] - ol.studies.invariants_along(run)[0]
        >>> bool(jnp.abs(measured - predicted).max() < 0.02 * jnp.abs(measured).max())
        True
    """
    values = np.asarray(rate)
    pieces = (values[1:] + values[:-1]) / 2 * np.diff(np.asarray(time))[:, None]
    return np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(pieces, axis=0)])


def measured_drift(
    model: Model,
    task: Task,
    overlaps: Overlaps,
    rule: GradientDescent,
    key: jax.Array,
    *,
    n_paths: int = 64,
    settled: float = 0.25,
    law: AbstractLaw | None = None,
) -> np.ndarray:
    """The drift of the invariants on many paths of noisy learning, which `invariant_drift` predicts the mean of.

    Args:
        model: the `Model`.
        task: a fixed batch that the overlaps solve.
        overlaps: where all paths begin.
        rule: descent with label noise; from which of its saved points on drift is measured, `settled` says.
        key: a jax random key; every path draws its own noise.
        n_paths: paths.
        settled: the share of the run that is left to the fluctuations to settle.
        law: as in `invariant_drift`.

    Returns:
        Change per unit of learning time, shape [n_paths, n]; not finite on paths that diverged.
    """

    def one(key):
        run = integrate(model, task, overlaps, rule, key, throw=False, trust=False)
        values = invariants_along(run, rule.rates, law)
        first = round(settled * (len(run.time) - 1))
        return (values[-1] - values[first]) / (run.time[-1] - run.time[first])

    return np.asarray(jax.vmap(one)(jax.random.split(key, n_paths)))


def trace_drift(solution: Solution, *, settled: float = 0.25, n_parts: int = 5) -> tuple[float, float]:
    """The drift of `tr(Sign G)` on one path of noisy learning, and its standard error from parts of the path.

    Args:
        solution: the run.
        settled: the share of the run that is left to the fluctuations to settle.
        n_parts: parts of the rest, which count as independent.

    Returns:
        Change per unit of learning time, and its standard error. `invariant_drift(...).total.sum()` predicts it.
    """
    time, trace = np.asarray(solution.time), trace_along(solution)
    first = int(settled * len(time))
    cuts = np.linspace(first, len(time) - 1, n_parts + 1).astype(int)
    rates = np.diff(trace[cuts]) / np.diff(time[cuts])
    return float(rates.mean()), float(rates.std(ddof=1) / np.sqrt(n_parts))


def conserved_matrix(network: Network) -> np.ndarray:
    """What gradient flow conserves at full N, `K = (A A^T - B B^T) / N`, of a linear network.

    Its non-zero eigenvalues are what overlaps tell of it, those of `ol.invariants`.

    Args:
        network: neurons of one weight.

    Returns:
        K, shape [N, N].

    Source: Ger & Barak 2026, Fig. 6; theory page, section 5.

    Examples:
        >>> overlaps = ol.Overlaps.from_entries(ol.Layout(), uu=2.0)
        >>> network = ol.Network.sample(overlaps, 20, key=jax.random.key(0))
        >>> values = np.linalg.eigvalsh(ol.studies.conserved_matrix(network))
        >>> bool(np.allclose([*values[:2], *values[-2:]], [-2, -1, 1, 1]))
        True
    """
    vectors = np.asarray(network.vectors)
    return (vectors * network.layout.signature) @ vectors.T / len(vectors)
