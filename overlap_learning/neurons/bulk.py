"""Backpropagation through time at full N with a matrix of connectivity, by hand."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from overlap_learning.model.model import Model
from overlap_learning.tasks.task import Task


def bulk_outputs(
    model: Model,
    vectors: jax.Array,
    weights: jax.Array,
    bulk: Any,
    task: Task,
    state_dtype: jnp.dtype | None = None,
) -> jax.Array:
    """Outputs of a network of N neurons with a bulk W, dense or a BCOO.

    States are in no small space, so for gradients phi of all neurons at all times is kept, and what flows back: 2 T B N
    numbers, and as many states again for a phi whose slope is computed of them. The gradient of W is then one product
    of matrices, `dL/dW = dt sum_t,b dL/dh(t + 1) phi(h(t))^T`, and is left out for a W that does not learn.

    Args:
        model: the `Model`.
        vectors: V, shape [N, d].
        weights: w, shape [N].
        bulk: W, shape [N, N].
        task: the `Task`, in the dtype of the vectors.
        state_dtype: the dtype of states, rates and products; None: that of the vectors.

    Returns:
        Outputs, shape [B, T, n_out].
    """
    n_fields = model.layout.n_fields
    dtype = vectors.dtype if state_dtype is None else state_dtype
    spanning = vectors[:, :n_fields].astype(dtype)
    readers = (weights[:, None] * vectors[:, n_fields:]).T.astype(dtype)
    inputs = jnp.transpose(task.inputs, (1, 2, 0)).astype(dtype)
    with jax.default_matmul_precision("highest"):
        outputs = _outputs((spanning, readers, inputs, bulk.astype(dtype)), model, task.dt.astype(dtype))
    return jnp.transpose(outputs, (2, 0, 1)).astype(vectors.dtype)


# Trials are columns, of states [N, B] and of what is kept of all times [N, T B]: products are then of W and of rows as
# they lie in memory. With trials as rows, N = 1,024 takes nearly twice as long on a CPU.
@eqx.filter_custom_vjp
def _outputs(parts: tuple[jax.Array, jax.Array, jax.Array, Any], model: Model, dt: jax.Array) -> jax.Array:
    """Outputs [T, n_out, B]; the parts are spanning vectors [N, ..], readers [.., N], inputs [T, n_in, B], and W."""
    outputs, _ = _simulate(parts, model, dt)
    return outputs


@_outputs.def_fwd
def _forward(_perturbed, parts, model, dt):
    return _simulate(parts, model, dt)


def _simulate(
    parts: tuple[jax.Array, jax.Array, jax.Array, Any], model: Model, dt: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    """Outputs, and of all times the states and the rates [N, T B] and what the readers read [T, .., B]."""
    spanning, readers, inputs, bulk = parts
    rank, (n_steps, _, n_trials) = model.layout.rank, inputs.shape

    def step(carry, now):
        h, states, rates = carry
        t, x = now
        phi = model.activation(h)
        read = readers @ phi
        driven = bulk @ phi + spanning @ jnp.concatenate([x, read[:rank]])
        return (h + dt * (driven - h), _at(states, h, t), _at(rates, phi, t)), read

    start = jnp.zeros((len(spanning), n_trials), spanning.dtype)
    empty = jnp.zeros((len(spanning), n_steps * n_trials), spanning.dtype)
    (_, states, rates), read = lax.scan(step, (start, empty, empty), (jnp.arange(n_steps), inputs))
    return read[:, rank:], (states, rates, read[:, :rank])


@_outputs.def_bwd
def _backward(kept, slope, perturbed, parts, model, dt):
    states, rates, read = kept
    spanning, readers, inputs, bulk = parts
    n_steps, n_in, n_trials = inputs.shape
    # A gradient is traced after `bulk_outputs` has left its precision.
    with jax.default_matmul_precision("highest"):
        to_fields = spanning.T
        # A product with a W that is transposed in each step takes several times as long.
        across = lax.optimization_barrier(bulk.T)

        def step(carry, now):
            # What flows back to the states one step later.
            later, all_later = carry
            t, slope = now
            h, phi = (lax.dynamic_slice_in_dim(all_times, t * n_trials, n_trials, 1) for all_times in (states, rates))
            fields = dt * (to_fields @ later)
            back = dt * (across @ later) + readers.T @ jnp.concatenate([fields[n_in:], slope])
            gain = model.activation.slope(h, phi)
            return ((1 - dt) * later + gain * back, _at(all_later, later, t)), fields

        start = (jnp.zeros_like(states, shape=(len(spanning), n_trials)), jnp.zeros_like(states))
        (_, later), fields = lax.scan(step, start, (jnp.arange(n_steps), slope), reverse=True)
        # What is summed over time is one product of matrices.
        return (
            dt * _summed(later, _columns(jnp.concatenate([inputs, read], axis=1))),
            _summed(_columns(jnp.concatenate([fields[:, n_in:], slope], axis=1)), rates),
            fields[:, :n_in] if perturbed[2] else None,
            dt * _summed(later, rates) if perturbed[3] is True else jax.tree.map(lambda _: None, bulk),
        )


def _at(all_times: jax.Array, now: jax.Array, t: jax.Array) -> jax.Array:
    """All times [N, T B] with those of a time [N, B] written in."""
    return lax.dynamic_update_slice_in_dim(all_times, now, t * now.shape[1], 1)


def _columns(by_time: jax.Array) -> jax.Array:
    """Numbers of each time and trial [T, n, B] as columns [n, T B]."""
    return jnp.moveaxis(by_time, 0, 1).reshape(by_time.shape[1], -1)


def _summed(left: jax.Array, right: jax.Array) -> jax.Array:
    """`sum_t,b left_t,b right_t,b^T`, shape [n, N], as one product of matrices."""
    # XLA may compute the transpose of a product instead, with loops of its own in place of a library's.
    return lax.optimization_barrier(left @ right.T)
