"""Arguments that several rules have."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from overlap_learning.checks import count, is_zero, scalar
from overlap_learning.learning.schedule import LossSchedule

#: Saved points of a run whose rule does not say how many.
DEFAULT_SAVES = 200


def as_arrays(rates: Any) -> Any:
    """Rates by name as arrays, so that another number does not compile another program."""
    if not isinstance(rates, Mapping):
        return rates
    return {k: jnp.asarray(r, float) if isinstance(r, (int, float)) else r for k, r in rates.items()}


def learning_rate_of(value: Any, caller: str) -> Any:
    """A learning rate, or a schedule `step -> learning rate`, checked."""
    if callable(value):
        return value
    return scalar(value, f"{caller}: learning_rate", "positive, or a schedule step -> learning rate", 0)


def rate_at(learning_rate: Any, step: jax.Array, lowest: jax.Array) -> jax.Array:
    """The learning rate of a step, before which the lowest loss was `lowest`."""
    if isinstance(learning_rate, LossSchedule):
        return learning_rate.at(lowest, step)
    return jnp.asarray(learning_rate(step) if callable(learning_rate) else learning_rate, dtype=float)


def optional_positive(value: ArrayLike | None, name: str) -> jax.Array | None:
    """A positive number, or None."""
    return None if value is None else scalar(value, name, "positive, or None", 0)


def optional_noise(value: ArrayLike, name: str) -> jax.Array | None:
    """The noise, or None if it is known to be 0: drawing it would take longer than all the rest of a small step."""
    noise = scalar(value, name, "at least 0", 0, open_low=False)
    return None if is_zero(value) else noise


def stride(save_every: int | None, n_steps: int, caller: str) -> int:
    """Steps between saved points."""
    if save_every is None:
        return max(1, n_steps // DEFAULT_SAVES)
    return min(count(save_every, f"{caller}: save_every"), n_steps)
