"""Linear tasks: respond to one impulse with a given function of time."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from overlap_learning.model.precision import is_traced, scalar
from overlap_learning.tasks.task import Task
from overlap_learning.tasks.time import steps


def exponential_filter(
    decay: ArrayLike = 0.2, duration: float = 20.0, dt: float = 0.05, *, published_time_axis: bool = False
) -> Task:
    """Low-pass filter: answer an impulse with `exp(-c t)`.

    Input `1/dt` at step 0, so that the state just after it is m; the output is read after the update, at times
    `t = 0, dt, ..., duration - dt` after the impulse; loss = `sum (y - target)^2 dt`. The reading y[0], taken before
    the impulse acts, has weight 0. For linear phi and rank 1 the continuous-time solution is `s_zm = 1`,
    `s_zu s_vm = 1 - c`, `s_vu = 1 - c`.

    Args:
        decay: c, positive, with `c dt < 2` (else Euler can't follow `exp(-c t)` stably).
        duration: time read, in neuronal time constants.
        dt: the Euler step.
        published_time_axis: True reproduces the time axis of the published code, `linspace(0, duration, T)` (both ends
            included, spacing `T / (T - 1) dt`), against the states' own spacing dt. Use it to reproduce only.

    Returns:
        A `Task` of one trial, `T = duration / dt + 1` steps, one input and one output.

    Raises:
        ValueError: if decay, duration or dt is out of range.

    Source: Ger & Barak 2026, Figs. 1, 3, 5.

    Examples:
        >>> task = ol.tasks.exponential_filter(decay=0.2, duration=20.0, dt=0.05)
        >>> task.inputs.shape, float(task.inputs[0, 0, 0]), float(task.targets[0, 1, 0])
        ((1, 401, 1), 20.0, 1.0)
    """
    decay = _stable_decay(decay, dt, "exponential_filter")
    times = _reading_times(duration, dt, published_time_axis)
    return _impulse_task(jnp.exp(-decay * times), dt)


def damped_oscillation(
    decay: ArrayLike = 0.3,
    frequency: ArrayLike = 2.0,
    duration: float = 20.0,
    dt: float = 0.05,
    *,
    published_time_axis: bool = False,
) -> Task:
    """Answer an impulse with `exp(-c t) cos(omega t)`; it takes a linear network of rank 2.

    Input, reading, loss and time axis are those of `exponential_filter`.

    Args:
        decay: c, positive, with `c dt < 2`.
        frequency: omega, in radians per neuronal time constant.
        duration: time read, in neuronal time constants.
        dt: the Euler step.
        published_time_axis: as in `exponential_filter`.

    Returns:
        A `Task` of one trial, `T = duration / dt + 1` steps, one input and one output.

    Raises:
        ValueError: if an argument is out of range.

    Source: Ger & Barak 2026, Fig. 12.

    Examples:
        >>> ol.tasks.damped_oscillation(duration=2.0, dt=0.1).targets[0, 1:4, 0].round(3)
        Array([1.   , 0.951, 0.867], dtype=float64)
    """
    decay = _stable_decay(decay, dt, "damped_oscillation")
    frequency = scalar(frequency, "damped_oscillation: frequency", "a finite number", -jnp.inf)
    times = _reading_times(duration, dt, published_time_axis)
    return _impulse_task(jnp.exp(-decay * times) * jnp.cos(frequency * times), dt)


def _stable_decay(decay: ArrayLike, dt: float, caller: str) -> jax.Array:
    decay = scalar(decay, f"{caller}: decay", "positive", 0)
    if not is_traced(decay) and not float(decay) * dt < 2:
        raise ValueError(
            f"{caller}: decay * dt must be below 2 (beyond, Euler's step 1 - decay dt is unstable), "
            f"got decay={float(decay):g} with dt={dt:g}; use dt < {2 / float(decay):.3g}."
        )
    return decay


def _reading_times(duration: float, dt: float, published: bool) -> jax.Array:
    n = steps(duration, dt)
    return jnp.linspace(0.0, n * dt, n) if published else dt * jnp.arange(n)


def _impulse_task(response: jax.Array, dt: float) -> Task:
    """One trial: an impulse at step 0, and `response` [T - 1] as the target of the readings from step 1 on."""
    shape = (1, len(response) + 1, 1)
    return Task(
        inputs=jnp.zeros(shape).at[:, 0].set(1 / dt),
        targets=jnp.zeros(shape).at[0, 1:, 0].set(response),
        weights=jnp.full(shape, dt).at[:, 0].set(0.0),
        dt=dt,
    )
