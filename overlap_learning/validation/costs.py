"""Costs: ways to follow nonlinear learning, from the Gaussian theory to many neurons; their errors and times."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from overlap_learning.dynamics.integrate import integrate
from overlap_learning.learning.rules import GradientDescent
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.nodes import Cubature, HermiteGrid, WhitenedNodes
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.model.populations import Populations
from overlap_learning.tasks.task import Task
from overlap_learning.training.train import train
from overlap_learning.validation.expansion import expand, exponents
from overlap_learning.validation.finite_size import entries
from overlap_learning.validation.limit import limit

KINDS = (
    "Gaussian theory", "populations", "cubature", "grid", "whitened neurons", "corrected theory", "Hermite expansion",
)  # fmt: skip
#: A time is the shortest of so many runs, in CPU time, so that other programs on the machine count little.
N_RUNS = 3


@dataclass(frozen=True)
class Sizes:
    """The sizes of the closures that are compared.

    Args:
        populations: nodes per dimension of the fields, and the share of variance that is between the populations.
        degrees: of cubatures.
        grids: nodes per dimension of the fields, and of the others.
        whitened: numbers of whitened random neurons, mirror images not counted.
        corrected: numbers of independent random neurons, whose difference from the theory of their own overlaps is
            added to the theory (a control variate).
        n_seeds: draws of random neurons.
        expansions: degrees of Hermite expansions; 2 has linear terms only.
        expansion_grid: the grid on which gradients are projected.
        reference: the two grids of the limit that all are held against.
    """

    populations: tuple[tuple[int, float], ...] = ((2, 0.4), (4, 0.8), (6, 0.9), (8, 0.95), (12, 1.0))
    degrees: tuple[int, ...] = (9, 11, 13)
    grids: tuple[tuple[int, int], ...] = ((4, 2), (6, 2), (8, 2))
    whitened: tuple[int, ...] = (32, 64, 256)
    corrected: tuple[int, ...] = (64,)
    n_seeds: int = 3
    expansions: tuple[int, ...] = (2, 3, 5)
    expansion_grid: tuple[int, int] = (8, 3)
    reference: tuple[tuple[int, int], tuple[int, int]] = ((12, 3), (16, 3))


class Closure(NamedTuple):
    """One way to follow nonlinear learning.

    Attributes:
        kind: one of `KINDS`.
        size: how many populations, neurons (mirror images not counted) or polynomials it has.
        error: largest error of an overlap over learning, relative to the largest change; of random neurons the mean
            over draws.
        cost: its CPU time per step of learning, in units of the Gaussian theory's.
    """

    kind: str
    size: int
    error: float
    cost: float


def compare_closures(
    model: Model, task: Task, overlaps: Overlaps, rule: GradientDescent, sizes: Sizes, progress: bool | None = None
) -> tuple[list[Closure], float]:
    """Every closure against the limit.

    Args:
        model: the `Model`, with an odd activation.
        task: the task.
        overlaps: the start.
        rule: the rule.
        sizes: of the closures.
        progress: show progress bars of neurons; None: if a person is watching.

    Returns:
        The closures, and how well the limit is known, relative to the largest change of an overlap.
    """
    coarse, fine = (HermiteGrid(*grid, folded=True) for grid in sizes.reference)
    reference = limit(model, task, overlaps, rule, nodes=(coarse, fine), progress=progress)
    exact = entries(reference.solution)
    change = np.abs(exact - exact[0]).max()
    found, unit = [], 0.0
    for kind, size, runs in _ways(model, task, overlaps, rule, sizes, progress):
        results, took = _timed(runs)
        unit = unit or took
        errors = [np.abs(result - exact).max() / change for result in results]
        found.append(Closure(kind, size, float(np.mean(errors)), took / unit))
    return found, float(reference.error.max() / change)


def _ways(
    model: Model, task: Task, overlaps: Overlaps, rule: GradientDescent, sizes: Sizes, progress: bool | None
) -> Iterator[tuple[str, int, list[Callable[[], np.ndarray]]]]:
    """Kind and size of each closure, and what gives its overlaps through learning, once for each draw."""

    def theory(start: Overlaps | Populations) -> np.ndarray:
        return entries(integrate(model, task, start, rule, trust=False))

    def full(network: Network) -> np.ndarray:
        return entries(train(model, task, network, rule, progress=progress))

    def corrected(network: Network) -> np.ndarray:
        return theory(overlaps) + full(network) - theory(network.overlaps)

    keys = jax.random.split(jax.random.key(0), sizes.n_seeds)
    yield KINDS[0], 1, [lambda: theory(overlaps)]
    for order, share in sizes.populations:
        parts = Populations.split(overlaps, HermiteGrid(order, folded=True), share=share)
        yield KINDS[1], parts.n_populations, [partial(theory, parts)]
    for kind, every in (
        (KINDS[2], [Cubature(degree, folded=True) for degree in sizes.degrees]),
        (KINDS[3], [HermiteGrid(*grid, folded=True) for grid in sizes.grids]),
    ):
        for nodes in every:
            network = Network.quadrature(overlaps, nodes)
            yield kind, network.n_neurons, [partial(full, network)]
    for n in sizes.whitened:
        draws = [Network.quadrature(overlaps, WhitenedNodes(n, key=key, folded=True)) for key in keys]
        yield KINDS[4], n, [partial(full, network) for network in draws]
    for n in sizes.corrected:
        draws = [Network.sample(overlaps, n, key=key, exact=False) for key in keys]
        yield KINDS[5], n, [partial(corrected, network) for network in draws]
    nodes = HermiteGrid(*sizes.expansion_grid, folded=True)
    for degree in sizes.expansions:
        size = len(exponents(len(overlaps.gram), model.layout.n_fields, degree))
        yield KINDS[6], size, [lambda degree=degree: entries(expand(model, task, overlaps, rule, degree, nodes))]


def _timed(runs: Sequence[Callable[[], np.ndarray]]) -> tuple[list[np.ndarray], float]:
    """What the runs give, and the CPU time of one, without compilation."""
    results = [run() for run in runs]
    times = []
    for run in itertools.islice(itertools.cycle(runs), N_RUNS):
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return results, min(times)
