"""Noise: what the state noise of single neurons does to the output, in theory."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from overlap_learning.checks import count, require_float64, scalar
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.model.activity import Stimulus, check_channels
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps


def output_noise(model: Model, overlaps: Overlaps, task: Stimulus, n_neurons: int, state_noise: ArrayLike) -> jax.Array:
    """The covariance of the output of a linear network whose neurons are noisy: 1/N, through the invisible A-A block.

    Noise `sigma xi` on the state of each neuron at each step is read through A = (v, z) as n = (n_v, n_z) with
    covariance `sigma^2 G_AA / N` per step, and n_v drives the recurrence::

        n <- (1 - dt) n + noise,   k_u <- k_u + dt (-k_u + s_vu k_u + n_v),   y - <y> = s_zu k_u + n_z

    whose covariance is propagated exactly. Two networks with the same visible overlaps differ in it by their v, z Gram
    matrix.

    Args:
        model: the `Model`, linear.
        overlaps: the `Overlaps`.
        task: an `ol.Task` (its number of steps and dt are used; the covariance does not depend on the input).
        n_neurons: N.
        state_noise: sigma, the standard deviation per neuron and step.

    Returns:
        Covariance of y[k] at each step, shape [T, n_out, n_out].

    Raises:
        ValueError: if the model is nonlinear (use `ol.simulate(..., state_noise=...)`), or an argument is out of range.

    Source: Ger & Barak 2026, Fig. 2; theory page, section 6.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> task = ol.tasks.exponential_filter()
        >>> covariance = ol.studies.output_noise(model, ol.Overlaps.from_entries(model.layout), task, 500, 0.5)
        >>> covariance.shape, float((covariance[1, 0, 0] * 500).round(12))
        ((401, 1, 1), 0.25)
    """
    require_float64("ol.studies.output_noise", model=model, task=task, overlaps=overlaps)
    layout = check_layout(model, overlaps, "output_noise")
    check_channels(layout, task, "output_noise")
    if not model.is_linear:
        raise ValueError(
            "output_noise: the covariance closes for linear networks only; for others average over runs of "
            "ol.simulate(model, network, task, state_noise=..., key=...)."
        )
    n = count(n_neurons, "output_noise: n_neurons", least=layout.size)
    sigma = scalar(state_noise, "output_noise: state_noise", "at least 0", 0, open_low=False)
    return _covariance(model, overlaps.gram, task, jnp.square(sigma) / n)


@eqx.filter_jit
def _covariance(model: Model, gram: jax.Array, task: Stimulus, strength: jax.Array) -> jax.Array:
    layout = model.layout
    rank, n_fields, d = layout.rank, layout.n_fields, layout.size
    n_read = d - n_fields
    v, z, u = layout.block("v"), layout.block("z"), layout.block("u")
    # The state is (k_u, n_v, n_z).
    currents = jnp.concatenate([gram[v, u], jnp.eye(rank, n_read)], axis=1)
    step = (1 - task.dt) * jnp.eye(rank + n_read)
    step = step.at[:rank].add(task.dt * currents)
    source = jnp.zeros_like(step).at[rank:, rank:].set(strength * gram[n_fields:, n_fields:])
    read = jnp.concatenate([gram[z, u], jnp.eye(layout.n_out, n_read, rank)], axis=1)

    def advance(covariance, _):
        return step @ covariance @ step.T + source, read @ covariance @ read.T

    _, outputs = lax.scan(advance, jnp.zeros_like(step), length=task.inputs.shape[1])
    return outputs
