"""Backpropagation through time at full N, without storing what N neurons did at T times."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from overlap_learning.checks import count
from overlap_learning.model.model import Model, check_model
from overlap_learning.tasks.task import Task


def neuron_loss(
    model: Model, vectors: jax.Array, weights: jax.Array, task: Task, state_dtype: jnp.dtype | None = None
) -> jax.Array:
    """The loss of a network of N neurons, of which reverse-mode differentiation needs O(N d + B N + B T d) memory.

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

    Returns:
        The loss, shape [].
    """
    n_fields = model.layout.n_fields
    dtype = vectors.dtype if state_dtype is None else state_dtype
    # Neurons are the last axis: every loop over them then runs over neighbours in memory.
    spanning = vectors[:, :n_fields].T.astype(dtype)
    readers = (weights[:, None] * vectors[:, n_fields:]).T.astype(dtype)
    inputs = jnp.moveaxis(task.inputs, 0, 1)
    with jax.default_matmul_precision("highest"):
        outputs = _outputs((spanning, readers, inputs), model, task.dt)
        return task.loss(jnp.moveaxis(outputs, 0, 1))


# The backward pass is written by hand, step for step that of the loop in _simulate: what automatic differentiation
# makes of the loop gives the same numbers, and copies arrays of N x B numbers about.
@eqx.filter_custom_vjp
def _outputs(parts: tuple[jax.Array, jax.Array, jax.Array], model: Model, dt: jax.Array) -> jax.Array:
    """Outputs [T, B, n_out] from spanning vectors [n_in + rank, N], readers [rank + n_out, N], inputs [T, B, n_in]."""
    outputs, _ = _simulate(parts, model, dt)
    return outputs


def _simulate(
    parts: tuple[jax.Array, jax.Array, jax.Array], model: Model, dt: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Outputs, and k at each time [T, B, n_in + rank]."""
    spanning, readers, inputs = parts
    rank = model.layout.rank

    def step(k, x):
        read = _sums(model.activation(k.astype(spanning.dtype) @ spanning), readers, k.dtype)
        drive = jnp.concatenate([x, read[:, :rank]], axis=1)
        return k + dt * (drive - k), (read[:, rank:], k)

    _, (outputs, k) = lax.scan(step, jnp.zeros((inputs.shape[1], len(spanning)), inputs.dtype), inputs)
    return outputs, k


def _sums(neurons: jax.Array, vectors: jax.Array, dtype: Any) -> jax.Array:
    """Sums over neurons, `neurons [B, N] . vectors [n, N]`, shape [B, n]."""
    return lax.dot_general(neurons, vectors, (((1,), (1,)), ((), ()))).astype(dtype)


@_outputs.def_fwd
def _forward(_perturbed, parts, model, dt):
    return _simulate(parts, model, dt)


@_outputs.def_bwd
def _backward(course, slope, _perturbed, parts, model, dt):
    spanning, readers, inputs = parts
    n_in, dtype = inputs.shape[-1], spanning.dtype

    def step(carry, now):
        # What flows back: to k one step later, and so far to the vectors.
        later, to_spanning, to_readers = carry
        k, to_outputs = now
        to_read = jnp.concatenate([dt * later[:, n_in:], to_outputs], axis=1)
        k, to_read = k.astype(dtype), to_read.astype(dtype)
        field = k @ spanning
        phi, gain = jax.jvp(model.activation, (field,), (jnp.ones_like(field),))
        to_field = gain * (to_read @ readers)
        earlier = (1 - dt) * later + _sums(to_field, spanning, later.dtype)
        return (earlier, to_spanning + k.T @ to_field, to_readers + to_read.T @ phi), dt * later[:, :n_in]

    start = (jnp.zeros_like(course[0]), jnp.zeros_like(spanning), jnp.zeros_like(readers))
    (_, to_spanning, to_readers), to_inputs = lax.scan(step, start, (course, slope), reverse=True)
    return to_spanning, to_readers, to_inputs


def memory_traffic(model: Model, task: Task, n_neurons: int, dtype: DTypeLike = jnp.float32) -> int:
    """Bytes that one learning step of `ol.train` reads and writes, simulated time forth and back: for a roofline.

    Counted are the passes over arrays of the size of N, per time step, with `b = n_in + rank` spanning vectors and
    `a = rank + n_out` readers per neuron::

        forth   4 B + b + a       field (written), phi (read, written), its sums over neurons (read)
        back    10 B + 6 b + 5 a  field, phi, phi' and what flows back, and the running sums of the gradient

    numbers per neuron; for linear phi, which needs no pass of its own, `2 B + ...` and `5 B + ...`. All else (trials,
    k, the update of the vectors) is smaller by a factor of T or of N. Divided by the seconds of a step, this is the
    achieved bandwidth, to be held against that of the machine's copies. A compiler that fuses more moves less.

    Args:
        model: the `Model`.
        task: the `Task` (its numbers of trials and of steps are used).
        n_neurons: N.
        dtype: that of the states.

    Examples:
        >>> task = ol.tasks.flip_flop(key=jax.random.key(0), n_trials=10, duration=20.0)
        >>> model = ol.Model(ol.Layout(), ol.Erf())
        >>> ol.training.memory_traffic(model, task, 1_000_000) / 1e9
        265.6
    """
    check_model(model, "memory_traffic")
    layout = model.layout
    n_fields = layout.n_fields
    n_readers = layout.size - n_fields
    trials = (7 if model.is_linear else 14) * task.n_trials
    numbers = trials + 7 * n_fields + 6 * n_readers
    return numbers * task.n_steps * count(n_neurons, "memory_traffic: n_neurons") * jnp.dtype(dtype).itemsize
