"""The limit of a random bulk, the plain way: all words up to a length, one time step after another, in jax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import overlap_learning as ol


def fock_words(task: ol.Task, gram: np.ndarray, g: float, length: int, learning_rate: float, n_steps: int) -> jax.Array:
    """Overlaps after learning of m, u, v, z, rank 1, one trial, shape [4, 4].

    Word i has the children `2 i + 1` (letter 1 before it) and `2 i + 2`; `c = g (l_1 + l_2*)`.

    Args:
        task: the trial.
        gram: the start.
        g: strength of the bulk.
        length: of the longest words.
        learning_rate: eta.
        n_steps: of descent.
    """
    vectors = np.zeros((2 ** (length + 1) - 1, 4, 4))
    vectors[0] = np.linalg.cholesky(gram).T
    return _learned(task, jnp.asarray(vectors), g, learning_rate, n_steps)


@functools.partial(jax.jit, static_argnums=4)
def _learned(task: ol.Task, vectors: jax.Array, g: float, learning_rate: float, n_steps: int) -> jax.Array:
    word = jnp.arange(len(vectors))
    parent, child = jnp.maximum(word - 1, 0) // 2, jnp.minimum(2 * word + 2, len(word) - 1)
    begins_with_1, has_child = (word % 2 == 1)[:, None], (2 * word + 2 < len(word))[:, None]

    def loss(vectors):
        m, u, v, z = jnp.moveaxis(vectors, -1, 0)

        def step(h, x):
            bulk = g * (jnp.where(begins_with_1, h[parent], 0) + jnp.where(has_child, h[child], 0))
            return h + task.dt * (bulk - h + u * jnp.sum(v * h) + m * x), jnp.sum(z * h)

        _, outputs = lax.scan(step, jnp.zeros_like(m), task.inputs[0, :, 0])
        return task.loss(outputs[None, :, None])

    def descend(vectors, _):
        return vectors - learning_rate * jax.grad(loss)(vectors), None

    vectors, _ = lax.scan(descend, vectors, length=n_steps)
    return jnp.einsum("wci,wcj->ij", vectors, vectors)
