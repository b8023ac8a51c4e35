"""Runs: what the experiments of the gallery have in common."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.dynamics.integrate import integrate
from overlap_learning.learning.outcomes import LearningError
from overlap_learning.learning.rules import AbstractRule, Optimiser
from overlap_learning.learning.solution import Solution
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task


def random_network(layout: Layout, n_neurons: int, key: jax.Array) -> Network:
    """The published start: normal vectors, scaled to `|v|^2 = N`; their overlaps are of order N^(-1/2)."""
    vectors = jax.random.normal(key, (n_neurons, layout.size))
    return Network(vectors / jnp.sqrt(jnp.mean(jnp.square(vectors), axis=0)), layout)


def as_it_ends(
    model: Model, task: Task | TaskStream, start: Overlaps, rule: AbstractRule, key: jax.Array | None = None
) -> Solution:
    """Learning of a theory that may be wrong: if it diverges, that is a result and no error."""
    try:
        return integrate(model, task, start, rule, key)
    except LearningError as error:
        return error.solution


def joined(phases: Sequence[Solution]) -> Solution:
    """Phases of learning as one solution: its time goes on from phase to phase, its transfer matrix is the product.

    The end of one phase and the start of the next are both kept: overlaps agree there, the loss jumps to that of the
    next task.
    """
    times, transfers = [], []
    offset, before = 0.0, None
    for phase in phases:
        times.append(offset + phase.time)
        offset += float(phase.time[-1])
        if phase.transfer is not None:
            transfers.append(phase.transfer if before is None else before @ phase.transfer)
            before = transfers[-1][-1]
    saved = {"gram": jnp.concatenate([phase.overlaps.gram for phase in phases])}
    if transfers:
        saved["transfer"] = jnp.concatenate(transfers)
    return Solution(
        model=phases[0].model,
        time=jnp.concatenate(times),
        step=None,
        loss=jnp.concatenate([phase.loss for phase in phases]),
        saved=saved,
        final=phases[-1].final,
        stats={},
        result=phases[-1].result,
    )


def edges(phases: Sequence[Solution]) -> list[float]:
    """Learning times of the starts of the phases in `joined`, and of the end of the last."""
    return [0.0, *np.cumsum([float(phase.time[-1]) for phase in phases]).tolist()]


def end_gram(solution: Solution) -> np.ndarray:
    """The Gram matrix at the end of learning, shape [d, d]."""
    return np.asarray(solution.overlaps.gram[-1])


def largest_difference(a: jax.Array | np.ndarray, b: jax.Array | np.ndarray) -> float:
    """The largest absolute difference of two arrays."""
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())


def kurtosis_error(n_neurons: int) -> float:
    """The standard deviation of the excess kurtosis of N Gaussian neurons about 0, `sqrt(24 / N)`.

    Of `m4 / m2^2` with both moments about the known mean 0; the delta method gives 96 - 2 * 6 * 12 + 36 * 2 = 24.
    """
    return float(np.sqrt(24 / n_neurons))


def adam(learning_rate: float, n_steps: int) -> Optimiser:
    """Adam, by optax.

    Raises:
        ModuleNotFoundError: without optax.
    """
    try:
        import optax
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'Adam is optax\'s, which is not installed: pip install "overlap_learning[gallery]".', name="optax"
        ) from error
    return Optimiser(optax.adam(learning_rate), n_steps)
