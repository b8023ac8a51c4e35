"""Runs: what the experiments of the gallery have in common."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.learning.rules import GradientDescent, Optimiser
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activations import Linear
from overlap_learning.model.bulk import BULK
from overlap_learning.model.bulk_network import BulkNetwork
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.tasks.task import Task
from overlap_learning.training.train import train


def random_network(layout: Layout, n_neurons: int, key: jax.Array) -> Network:
    """The published start: normal vectors, scaled to `|v|^2 = N`; their overlaps are of order N^(-1/2)."""
    vectors = jax.random.normal(key, (n_neurons, layout.size))
    return Network(vectors / jnp.sqrt(jnp.mean(jnp.square(vectors), axis=0)), layout)


def end_gram(solution: Solution) -> np.ndarray:
    """The Gram matrix at the end of learning, shape [d, d]."""
    return np.asarray(solution.overlaps.gram[-1])


def largest_difference(a: jax.Array | np.ndarray, b: jax.Array | np.ndarray) -> float:
    """The largest absolute difference of two arrays."""
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())


def adam(learning_rate: float, n_steps: int, save_every: int | None = None, rates: Any = None) -> Optimiser:
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
    return Optimiser(_of_rate(optax.adam, learning_rate), n_steps, save_every=save_every, rates=rates)


@functools.cache
def _of_rate(optimiser: Any, learning_rate: float) -> Any:
    """An optimiser, made once for each rate: with another one, though equal, a run would be another program."""
    return optimiser(learning_rate)


def learn_bulk(
    task: Task, start: BulkNetwork, learning_rate: float, n_steps: int, save_every: int, progress: bool | None
) -> Solution:
    """Gradient descent of all connections of a linear network, its input and readout fixed; every saved W is kept.

    A run that diverges ends with its last good state.

    Args:
        task: the trials.
        start: a network whose vectors are one input and one readout.
        learning_rate: of W.
        n_steps: learning steps.
        save_every: steps between saved points.
        progress: show a progress bar; None: if a person is watching.
    """
    rule = GradientDescent(learning_rate, n_steps, save_every=save_every, rates={"m": 0.0, "z": 0.0, BULK: 1.0})
    model = Model(start.layout, Linear())
    return train(model, task, start, rule, throw=False, progress=progress, save_vectors=True)
