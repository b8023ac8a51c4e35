"""Backpropagation through time at full N, without storing what N neurons did at T times."""

import functools
import operator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from overlap_learning.model.model import Model
from overlap_learning.model.products import MOST_TERMS
from overlap_learning.tasks.task import Task

#: Up to so many entries, of N neurons in B trials say, a product of few terms is a sum; and sums over neurons are sums
#: of so many numbers side by side, if neurons are few.
FEW, FEW_IN_LANES, LANES = 1024, 4096, 8


def neuron_loss(
    model: Model, vectors: jax.Array, weights: jax.Array, task: Task, state_dtype: jnp.dtype | None = None
) -> jax.Array:
    """The loss of a network of N neurons, shape [], from its `neuron_outputs`."""
    return task.loss(neuron_outputs(model, vectors, weights, task, state_dtype))


def neuron_outputs(
    model: Model,
    vectors: jax.Array,
    weights: jax.Array,
    task: Task,
    state_dtype: jnp.dtype | None = None,
    in_lanes: bool = False,
) -> jax.Array:
    """Outputs of a network of N neurons, of which reverse-mode differentiation needs O(N d + B N + B T d) memory.

    Eq. (1) from h(0) = 0 keeps every neuron's field in the span of its input and recurrent vectors, `h_i = B_i . k`,
    whatever phi is: k(t) filters the inputs and the recurrent currents `v^T phi(h) / N`. So each step stores k
    [B, n_in + rank], and the backward pass recomputes the B x N fields from it. No overlap is formed: currents and
    outputs are sums over neurons of what each of them does.

    Args:
        model: the `Model`.
        vectors: V, shape [N, d].
        weights: w, shape [N].
        task: the `Task`, in the dtype of the vectors.
        state_dtype: the dtype of the fields, of phi, of what flows back to each neuron, and of the sums over neurons in
            a time step; k keeps the dtype of the vectors. None: all in that one.
        in_lanes: whether sums over a few neurons are sums of numbers side by side, and those over trials the last to
            be done: quicker, on one device.

    Returns:
        Outputs, shape [B, T, n_out].
    """
    n_fields = model.layout.n_fields
    dtype = vectors.dtype if state_dtype is None else state_dtype
    # Neurons are the last axis: every loop over them then runs over neighbours in memory.
    spanning = vectors[:, :n_fields].T.astype(dtype)
    readers = (weights[:, None] * vectors[:, n_fields:]).T.astype(dtype)
    in_lanes = in_lanes and len(task.inputs) * len(vectors) <= FEW_IN_LANES and len(vectors) <= (MOST_TERMS - 1) * LANES
    if in_lanes:
        # Neurons without a weight, so that sums over them are sums of whole lanes.
        spanning, readers = (jnp.pad(each, ((0, 0), (0, -len(vectors) % LANES))) for each in (spanning, readers))
    inputs = jnp.moveaxis(task.inputs, 0, 1)
    with jax.default_matmul_precision("highest"):
        outputs = _outputs((spanning, readers, inputs), model, task.dt, in_lanes)
    return jnp.moveaxis(outputs, 0, 1)


# The backward pass is written by hand, step for step that of the loop in _simulate: what automatic differentiation
# makes of the loop gives the same numbers, and copies arrays of N x B numbers about.
@eqx.filter_custom_vjp
def _outputs(parts: tuple[jax.Array, jax.Array, jax.Array], model: Model, dt: jax.Array, in_lanes: bool) -> jax.Array:
    """Outputs [T, B, n_out] from spanning vectors [n_in + rank, N], readers [rank + n_out, N], inputs [T, B, n_in]."""
    outputs, _ = _simulate(parts, model, dt, in_lanes)
    return outputs


def _simulate(
    parts: tuple[jax.Array, jax.Array, jax.Array], model: Model, dt: jax.Array, in_lanes: bool
) -> tuple[jax.Array, jax.Array]:
    """Outputs, and k at each time [T, B, n_in + rank]."""
    spanning, readers, inputs = parts
    rank = model.layout.rank

    def step(k, x):
        read = _sums(model.activation(_times(k.astype(spanning.dtype), spanning, in_lanes)), readers, k.dtype, in_lanes)
        drive = jnp.concatenate([x, read[:, :rank]], axis=1)
        return k + dt * (drive - k), (read[:, rank:], k)

    _, (outputs, k) = lax.scan(step, jnp.zeros((inputs.shape[1], len(spanning)), inputs.dtype), inputs)
    return outputs, k


def _times(a: jax.Array, b: jax.Array, in_lanes: bool) -> jax.Array:
    """`a @ b`, as a sum for a few neurons: a call of BLAS takes longer than a loop over so few numbers.

    Of terms by name, as a compiler makes no vectors of a loop that sums inside.
    """
    if (not in_lanes and a.shape[0] * b.shape[1] > FEW) or a.shape[1] > MOST_TERMS:
        return a @ b
    return functools.reduce(operator.add, (a[:, i, None] * b[i] for i in range(a.shape[1])))


def _sums(neurons: jax.Array, vectors: jax.Array, dtype: Any, in_lanes: bool) -> jax.Array:
    """Sums over neurons, `neurons [B, N] . vectors [n, N]`, shape [B, n]."""
    if not in_lanes:
        return lax.dot_general(neurons, vectors, (((1,), (1,)), ((), ()))).astype(dtype)
    terms = neurons[:, None] * vectors
    lanes = functools.reduce(operator.add, (terms[..., i : i + LANES] for i in range(0, terms.shape[-1], LANES)))
    while (half := lanes.shape[-1] // 2) > 0:
        # By name, as in _times: of a sum over an axis a compiler makes no vectors.
        lanes = lanes[..., :half] + lanes[..., half:]
    return lanes[..., 0].astype(dtype)


@_outputs.def_fwd
def _forward(_perturbed, parts, model, dt, in_lanes):
    return _simulate(parts, model, dt, in_lanes)


@_outputs.def_bwd
def _backward(course, slope, _perturbed, parts, model, dt, in_lanes):
    spanning, readers, inputs = parts
    n_in, dtype = inputs.shape[-1], spanning.dtype

    def step(carry, now):
        # What flows back: to k one step later, and so far to the vectors.
        later, to_spanning, to_readers = carry
        k, to_outputs = now
        to_read = jnp.concatenate([dt * later[:, n_in:], to_outputs], axis=1)
        k, to_read = k.astype(dtype), to_read.astype(dtype)
        field = _times(k, spanning, in_lanes)
        phi, gain = jax.jvp(model.activation, (field,), (jnp.ones_like(field),))
        to_field = gain * _times(to_read, readers, in_lanes)
        earlier = (1 - dt) * later + _sums(to_field, spanning, later.dtype, in_lanes)
        moved = to_spanning + _over_trials(k, to_field, in_lanes), to_readers + _over_trials(to_read, phi, in_lanes)
        return (earlier, *moved), dt * later[:, :n_in]

    apart = [len(slope[0])] if in_lanes else []
    nothing = (jnp.zeros((*apart, *vectors.shape), dtype) for vectors in (spanning, readers))
    (_, *moved), to_inputs = lax.scan(step, (jnp.zeros_like(course[0]), *nothing), (course, slope), reverse=True)
    to_spanning, to_readers = (jnp.sum(each, axis=0) for each in moved) if in_lanes else moved
    return to_spanning, to_readers, to_inputs


def _over_trials(a: jax.Array, neurons: jax.Array, in_lanes: bool) -> jax.Array:
    """`a^T @ neurons`, shape [n, N]; in lanes its terms, of which each trial has its own, shape [B, n, N]."""
    return a[:, :, None] * neurons[:, None] if in_lanes else _times(a.T, neurons, in_lanes)
