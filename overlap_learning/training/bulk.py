"""Backpropagation through time at full N with a matrix of connectivity, by hand."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from overlap_learning.model.bulk_network import recurrent
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

    States are in no small space, so the rates of all neurons at all times are kept, and their slopes: 2 T B N numbers,
    and as many again, for what flows back to each neuron, where gradients are asked for. The gradient of W is then one
    product of matrices, `dL/dW = sum_t,b dL/dh(t + 1) phi(h(t))^T dt`, and is left out for a W that does not learn.

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
    outputs, _ = _simulate(parts, model, dt, model.activation)
    return outputs


def _simulate(parts: tuple[jax.Array, jax.Array, jax.Array, Any], model: Model, dt: jax.Array, of_state: Any) -> Any:
    """Outputs, and at each time the currents into u [T, B, rank] and `of_state(h)`, of which phi is the first."""
    spanning, readers, inputs, bulk = parts
    rank = model.layout.rank

    def step(h, x):
        kept = of_state(h)
        phi = kept[0] if isinstance(kept, tuple) else kept
        read = phi @ readers.T
        drive = jnp.concatenate([x, read[:, :rank]], axis=1) @ spanning + recurrent(phi, bulk)
        return h + dt * (drive - h), (read[:, rank:], (read[:, :rank], kept))

    start = jnp.zeros((inputs.shape[1], spanning.shape[1]), spanning.dtype)
    _, (outputs, kept) = lax.scan(step, start, inputs)
    return outputs, kept


@_outputs.def_fwd
def _forward(_perturbed, parts, model, dt):
    return _simulate(parts, model, dt, lambda h: jax.jvp(model.activation, (h,), (jnp.ones_like(h),)))


@_outputs.def_bwd
def _backward(kept, slope, perturbed, parts, model, dt):
    spanning, readers, inputs, bulk = parts
    currents, (phi, gain) = kept
    n_in = inputs.shape[-1]
    into_neurons = spanning[n_in:]

    def step(later, now):
        # What flows back: dt times that to the states one step later.
        gain, to_outputs = now
        to_read = jnp.concatenate([later @ into_neurons.T, to_outputs], axis=1)
        to_phi = recurrent(later, bulk.T) + to_read @ readers
        return (1 - dt) * later + dt * gain * to_phi, (later, to_read)

    start = jnp.zeros_like(phi[0])
    _, (to_states, to_read) = lax.scan(step, start, (gain, slope), reverse=True)
    driven = jnp.concatenate([inputs, currents], axis=-1)
    return (
        _summed(driven, to_states),
        _summed(to_read, phi),
        to_states @ spanning[:n_in].T,
        _summed(to_states, phi) if perturbed[3] is True else jax.tree.map(lambda _: None, bulk),
    )


def _summed(left: jax.Array, right: jax.Array) -> jax.Array:
    """`sum_t,b left_t,b right_t,b^T`, shape [n, N], as one product of matrices."""
    return lax.dot_general(left, right, (((0, 1), (0, 1)), ((), ())))
