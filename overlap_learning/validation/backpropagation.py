"""Backpropagation through time at full N, without storing what N neurons did at T times."""

import jax
import jax.numpy as jnp
from jax import lax

from overlap_learning.model.model import Model
from overlap_learning.tasks.task import Task


def neuron_loss(model: Model, vectors: jax.Array, weights: jax.Array, task: Task) -> jax.Array:
    """The loss of a network of N neurons, of which reverse-mode differentiation needs O(N d + B T d) memory.

    Eq. (1) from h(0) = 0 keeps every neuron's field in the span of its input and recurrent vectors, `h_i = B_i . k`,
    whatever phi is: k(t) filters the inputs and the recurrent currents `v^T phi(h) / N`. So each step stores k
    [n_in + rank, B], and the backward pass recomputes the N x B fields from it. No overlap is formed: currents and
    outputs are sums over neurons.

    Args:
        model: the `Model`.
        vectors: V, shape [N, d].
        weights: w, shape [N].
        task: the `Task`, in the dtype of the vectors.

    Returns:
        The loss, shape [].
    """
    layout = model.layout
    n_fields, rank = layout.n_fields, layout.rank
    spanning = vectors[:, :n_fields]
    readers = (weights[:, None] * vectors[:, n_fields:]).T
    inputs = jnp.moveaxis(task.inputs, 0, -1)

    def step(k, x):
        read = readers @ model.activation(spanning @ k)
        drive = jnp.concatenate([x, read[:rank]])
        return k + task.dt * (drive - k), read[rank:]

    start = jnp.zeros((n_fields, inputs.shape[-1]), vectors.dtype)
    with jax.default_matmul_precision("highest"):
        # prevent_cse is for plain code; inside scan the barrier is not needed and costs time.
        _, outputs = lax.scan(jax.checkpoint(step, prevent_cse=False), start, inputs)
        return task.loss(jnp.moveaxis(outputs, -1, 0))
