"""Backpropagation through the states of neurons, where a task asks for more of them than what they put out."""

from typing import Any

import jax
import jax.numpy as jnp

from overlap_learning.model.activity import full_activity
from overlap_learning.model.model import Model
from overlap_learning.tasks.task import Task


def needs_states(task: Task) -> bool:
    """Whether the loss depends on states that are in no small space, or on all of them."""
    return task.activity_penalty is not None or task.state_noise is not None


def state_loss(
    model: Model,
    vectors: jax.Array,
    weights: jax.Array,
    bulk: Any,
    task: Task,
    state_dtype: jnp.dtype | None = None,
) -> jax.Array:
    """The loss of a network with a penalty on its activity or noise on its states, which keeps T B N numbers.

    Args:
        model: the `Model`.
        vectors: V, shape [N, d].
        weights: w, shape [N].
        bulk: W, shape [N, N], dense or a BCOO; None: there is none.
        task: the `Task`, in the dtype of the vectors, with the key of its noise.
        state_dtype: the dtype of states, rates and products; None: that of the vectors.

    Returns:
        The loss, shape [].
    """
    found = full_activity(model, vectors, weights, bulk, task, task.state_noise, task.noise_key, state_dtype)
    return task.loss(*jax.tree.map(lambda array: array.astype(vectors.dtype), found))
