"""The activity of full networks: what of their states a task asks for."""

from typing import Any

import jax
import jax.numpy as jnp

from overlap_learning.model.activity import Activity, full_activity
from overlap_learning.model.model import Model
from overlap_learning.neurons.bulk import bulk_outputs
from overlap_learning.neurons.loss import neuron_outputs
from overlap_learning.tasks.task import Task


def network_loss(
    model: Model, vectors: jax.Array, weights: jax.Array, bulk: Any, task: Task, state_dtype: jnp.dtype | None = None
) -> jax.Array:
    """The loss of a network of N neurons, shape [], from its `network_activity`."""
    return task.loss(*network_activity(model, vectors, weights, bulk, task, state_dtype))


def network_activity(
    model: Model,
    vectors: jax.Array,
    weights: jax.Array,
    bulk: Any,
    task: Task,
    state_dtype: jnp.dtype | None = None,
    in_lanes: bool = False,
) -> Activity:
    """What a task asks for of a network of N neurons, by the way that needs least memory.

    A penalty on activity, noise on states or time constants of neurons need the states of all neurons, T B N numbers.

    Args:
        model: the `Model`.
        vectors: V, shape [N, d].
        weights: w, shape [N].
        bulk: W, shape [N, N], dense or a BCOO; None: there is none.
        task: the `Task`, in the dtype of the vectors, with the key of its noise.
        state_dtype: the dtype of states, rates and products; None: that of the vectors.
        in_lanes: whether sums over a few neurons are sums of numbers side by side: quicker, on one device.

    Returns:
        The `Activity`.
    """
    if task.activity_penalty is None and task.state_noise is None and model.time_constants is None:
        if bulk is None:
            return Activity(neuron_outputs(model, vectors, weights, task, state_dtype, in_lanes), None)
        return Activity(bulk_outputs(model, vectors, weights, bulk, task, state_dtype), None)
    found = full_activity(model, vectors, weights, bulk, task, task.state_noise, task.noise_key, state_dtype)
    return jax.tree.map(lambda array: array.astype(vectors.dtype), found)
