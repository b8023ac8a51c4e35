"""Runs: what the experiments of the gallery have in common."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.learning.rules import Optimiser
from overlap_learning.learning.solution import Solution
from overlap_learning.model.layout import Layout
from overlap_learning.model.network import Network


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
    return Optimiser(optax.adam(learning_rate), n_steps, save_every=save_every, rates=rates)
