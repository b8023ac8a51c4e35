"""Backpropagation through time at full N with a matrix of connectivity, by hand."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from overlap_learning.model.model import Model
from overlap_learning.tasks.task import Task


def bulk_loss(
    model: Model,
    vectors: jax.Array,
    weights: jax.Array,
    bulk: Any,
    task: Task,
    state_dtype: jnp.dtype | None = None,
) -> jax.Array:
    """The loss of a network of N neurons with a bulk W, dense or a BCOO.

    States are in no small space, so those of all neurons at all times are kept: T B N numbers, and for gradients three
    times as many (with phi and what flows back). The gradient of W is then one product of matrices,
    `dL/dW = dt sum_t,b dL/dh(t + 1) phi(h(t))^T`, and is left out for a W that does not learn.

    Args:
        model: the `Model`.
        vectors: V, shape [N, d].
        weights: w, shape [N].
        bulk: W, shape [N, N].
        task: the `Task`, in the dtype of the vectors.
        state_dtype: the dtype of states, rates and products; None: that of the vectors.

    Returns:
        The loss, shape [].
    """
    n_fields = model.layout.n_fields
    dtype = vectors.dtype if state_dtype is None else state_dtype
    spanning = vectors[:, :n_fields].T.astype(dtype)
    readers = (weights[:, None] * vectors[:, n_fields:]).T.astype(dtype)
    inputs = jnp.moveaxis(task.inputs, 0, 1).astype(dtype)
    with jax.default_matmul_precision("highest"):
        outputs = _outputs((spanning, readers, inputs, bulk.astype(dtype)), model, task.dt.astype(dtype))
        return task.loss(jnp.moveaxis(outputs, 0, 1).astype(vectors.dtype))


@eqx.filter_custom_vjp
def _outputs(parts: tuple[jax.Array, jax.Array, jax.Array, Any], model: Model, dt: jax.Array) -> jax.Array:
    """Outputs [T, B, n_out]; the parts are spanning vectors and readers [.., N], inputs [T, B, n_in], and W."""
    outputs, _ = _simulate(parts, model, dt)
    return outputs


@_outputs.def_fwd
def _forward(_perturbed, parts, model, dt):
    return _simulate(parts, model, dt)


def _simulate(
    parts: tuple[jax.Array, jax.Array, jax.Array, Any], model: Model, dt: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Outputs, and the states at each time [T, B, N]."""
    spanning, readers, inputs, bulk = parts
    rank, across, selection = model.layout.rank, bulk.T, readers.T

    def step(h, x):
        phi = model.activation(h)
        read = phi @ selection
        driven = phi @ across + jnp.concatenate([x, read[:, :rank]], axis=1) @ spanning
        return h + dt * (driven - h), (read[:, rank:], h)

    start = jnp.zeros((inputs.shape[1], spanning.shape[1]), spanning.dtype)
    _, (outputs, h) = lax.scan(step, start, inputs)
    return outputs, h


@_outputs.def_bwd
def _backward(h, slope, perturbed, parts, model, dt):
    spanning, readers, inputs, bulk = parts
    n_in, rank = inputs.shape[-1], model.layout.rank
    from_neurons = spanning[n_in:].T

    def step(later, now):
        # What flows back to the states one step later.
        h, slope = now
        _, gain = jax.jvp(model.activation, (h,), (jnp.ones_like(h),))
        to_read = jnp.concatenate([dt * (later @ from_neurons), slope], axis=1)
        return (1 - dt) * later + gain * (dt * (later @ bulk) + to_read @ readers), later

    _, later = lax.scan(step, jnp.zeros_like(h[0]), (h, slope), reverse=True)
    # What is summed over time is one product of matrices.
    phi = model.activation(h)
    driven = jnp.concatenate([inputs, phi @ readers[:rank].T], axis=-1)
    to_read = jnp.concatenate([dt * (later @ from_neurons), slope], axis=-1)
    return (
        dt * _summed(driven, later),
        _summed(to_read, phi),
        dt * (later @ spanning[:n_in].T) if perturbed[2] else None,
        dt * _summed(later, phi) if perturbed[3] is True else jax.tree.map(lambda _: None, bulk),
    )


def _summed(left: jax.Array, right: jax.Array) -> jax.Array:
    """`sum_t,b left_t,b right_t,b^T`, shape [n, N], as one product of matrices."""
    return lax.dot_general(left, right, (((0, 1), (0, 1)), ((), ())))
