"""Schedules: learning rates that depend on how well a network does."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from overlap_learning.checks import scalar


class LossSchedule(eqx.Module):
    """A learning rate that is multiplied by a factor, for good, once the loss has been at or below a threshold.

    `eta_k = initial * (factor if min(L_0, ..., L_k) <= below else 1)`, where `L_k` is the loss before step k, on that
    step's trials and with its label noise. Each member of a batch has its own.

    Args:
        initial: the learning rate before; a number or a schedule `step -> eta`.
        below: the loss at or below which it changes.
        factor: what it is multiplied with.

    Raises:
        ValueError: if an argument is out of range.

    Source: Ger & Barak 2026, Fig. 4d-f (0.01, divided by 5 once the loss is under 0.015).

    Examples:
        >>> rate = ol.LossSchedule(0.01, below=0.015, factor=1 / 5)
        >>> [round(float(rate.at(loss)), 6) for loss in (1.0, 0.015, 0.001)]
        [0.01, 0.002, 0.002]
        >>> ol.GradientDescent(learning_rate=rate, n_steps=30_000).n_steps
        30000
    """

    initial: jax.Array | Callable[[jax.Array], jax.Array]
    below: jax.Array
    factor: jax.Array

    def __init__(
        self,
        initial: ArrayLike | Callable[[jax.Array], jax.Array],
        *,
        below: ArrayLike,
        factor: ArrayLike,
    ):
        allowed = "positive, or a schedule step -> learning rate"
        self.initial = initial if callable(initial) else scalar(initial, "LossSchedule: initial", allowed, 0)
        self.below = scalar(below, "LossSchedule: below", "positive", 0)
        self.factor = scalar(factor, "LossSchedule: factor", "positive", 0)

    def at(self, lowest: ArrayLike, step: ArrayLike = 0) -> jax.Array:
        """The learning rate of a step before which the lowest loss was `lowest`."""
        initial = self.initial(jnp.asarray(step)) if callable(self.initial) else self.initial
        return jnp.asarray(jnp.where(jnp.asarray(lowest) <= self.below, self.factor, 1.0) * initial, dtype=float)

    def __call__(self, step: jax.Array) -> jax.Array:
        """The learning rate of a step before the loss has fallen, as of any schedule."""
        return self.at(jnp.inf, step)
