"""Impulse tasks: respond to one impulse with a given function of time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import floating, in_jax, in_numpy, is_traced, is_zero, later, namespace, scalar
from overlap_learning.module import Module
from overlap_learning.tasks.response import Response
from overlap_learning.tasks.sums import Sums, sums_in_continuous_time, sums_of_steps
from overlap_learning.tasks.task import Task, task_of
from overlap_learning.tasks.time import steps

#: In continuous time, per neuronal time constant: the fastest decay or rotation of a target, and of the activity.
FASTEST = 128.0
#: And the longest duration, in neuronal time constants.
LONGEST = 1e8


class ImpulseTrials(Module):
    """An impulse at step 0, and the answer to it, read from reading 1 on; reading 0 has weight 0.

    Attributes:
        response: the impulse and its answer.
        dt: the Euler step, shape []; the input at step 0 is `areas / dt`.
        spacing: of the readings, shape [].
        sums: of the known signals.
        n_readings: after the impulse, T - 1.
    """

    response: Response
    dt: jax.Array
    spacing: jax.Array
    sums: Sums
    n_readings: int = eqx.field(static=True)

    # Leading axes are those of a batch of tasks, such as jax.vmap makes.

    @property
    def inputs(self) -> jax.Array:
        areas, dt = in_numpy((self.response.areas, self.dt))
        return self._after(areas[..., None, :] / dt[..., None, None, None], 0.0)

    @property
    def targets(self) -> jax.Array:
        response, spacing = in_numpy((self.response, self.spacing))
        return self._after(0.0, response.target(spacing[..., None] * np.arange(self.n_readings, dtype=spacing.dtype)))

    @property
    def weights(self) -> jax.Array:
        return self._after(0.0, in_numpy(self.dt)[..., None, None, None])

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        n_trials, n_in, n_out = self.response.sizes
        return (n_trials, 1 + self.n_readings, n_in, n_out)

    def silent_loss(self) -> jax.Array:
        return self.sums.silent_loss()

    def _after(self, first: Any, rest: Any) -> jax.Array:
        """Reading 0, and then the others, along the axis of time."""
        xp = namespace(first, rest)
        n_channels = max(np.shape(part)[-1] if np.ndim(part) else 1 for part in (first, rest))
        n_channels = max(n_channels, self.sizes[-1] if np.ndim(first) == 0 else 1)
        trials = self.response.areas.shape[:-1]
        parts = [xp.broadcast_to(part, (*trials, n, n_channels)) for part, n in ((first, 1), (rest, self.n_readings))]
        return jnp.asarray(xp.concatenate(parts, axis=-2), self.dt.dtype)


class ContinuousTrials(Module):
    """An impulse and the answer to it in continuous time, `dt -> 0`: there are no steps, and so no arrays.

    Attributes:
        response: the impulse and its answer.
        sums: integrals of the known signals.
    """

    response: Response
    sums: Sums

    @property
    def inputs(self) -> jax.Array:
        raise _no_steps("inputs")

    @property
    def targets(self) -> jax.Array:
        raise _no_steps("targets")

    @property
    def weights(self) -> jax.Array:
        raise _no_steps("weights")

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        n_trials, n_in, n_out = self.response.sizes
        return (n_trials, 0, n_in, n_out)

    def silent_loss(self) -> jax.Array:
        return self.sums.silent_loss()


def _no_steps(name: str) -> ValueError:
    return ValueError(
        f"Task.{name}: this task is in continuous time (dt=0) and has no steps, so no {name}. It has a loss for the "
        "ol.Overlaps of linear networks (ol.loss, ol.integrate without label_noise and batch_size). For other "
        "networks, N neurons, outputs and streams make it one of steps: ol.tasks.impulse_response(..., dt=0.05)."
    )


def impulse_response(
    cosines: ArrayLike,
    decays: ArrayLike,
    frequencies: ArrayLike | None = None,
    sines: ArrayLike | None = None,
    *,
    impulses: ArrayLike | None = None,
    duration: float = 20.0,
    dt: float = 0.05,
    published_time_axis: bool = False,
) -> Task:
    """Answer an impulse with `y*(t) = sum_j exp(-c_j t) (a_j cos(omega_j t) + b_j sin(omega_j t))`.

    Input `impulses / dt` at step 0, so that the state just after it is `impulses . m`; the output is read after the
    update, at times `t = 0, dt, ..., duration - dt` after the impulse; loss = `sum (y - y*)^2 dt`. The reading y[0],
    taken before the impulse acts, has weight 0.

    The task knows that its target is a sum of exponentials. For linear networks its loss is then a finite geometric
    sum: `ol.loss` and `ol.integrate` add it up in a number of operations that grows with the logarithm of the duration.

    With `dt=0` time is continuous: the state obeys `dx/dt = -x + ...` itself, not Euler's steps, and the loss is the
    integral of `(y - y*)^2` over `0 < t < duration`, exact to rounding too while the activity does not grow. There are
    no arrays then, and nothing to step through: such a task is for `ol.loss`, `ol.loss_gradient` and `ol.integrate` of
    linear networks. Its loss is NaN if the absolute values in a row of `s_vu - 1` add up to more than 128.

    Args:
        cosines: a, shape [B, J, n_out] (trials, terms, outputs).
        decays: c, shape [J], positive, with `c dt < 2` (else Euler can't follow `exp(-c t)` stably); in continuous time
            `c + abs(omega)` is at most 128 (inside `jax.jit`, where it can't be checked, the loss is NaN beyond).
        frequencies: omega, shape [J], in radians per neuronal time constant; None: nothing oscillates.
        sines: b, shape [B, J, n_out]; None: 0.
        impulses: area of the impulse in each trial and input, shape [B, n_in]; None: one trial, one input, area 1.
        duration: time read, in neuronal time constants.
        dt: the Euler step; 0: the limit of small steps.
        published_time_axis: True reproduces the time axis of the published code, `linspace(0, duration, T)` (both ends
            included, spacing `T / (T - 1) dt`), against the states' own spacing dt. Use it to reproduce only.

    Returns:
        A `Task` of B trials and `T = duration / dt + 1` steps, none in continuous time.

    Raises:
        ValueError: if shapes do not match or a number is out of range.

    Source: Ger & Barak 2026, Figs. 1, 12, for any number of terms, trials, inputs and outputs.

    Examples:
        Two trials, two inputs, one output; a sum of two exponentials in the first, one of them in the second:

        >>> task = ol.tasks.impulse_response(
        ...     cosines=[[[1.0], [0.5]], [[1.0], [0.0]]], decays=[0.2, 0.6], impulses=[[1.0, 0.0], [0.0, 1.0]]
        ... )
        >>> task.inputs.shape, task.targets[:, 1, 0]
        ((2, 401, 2), Array([1.5, 1. ], dtype=float64))

        Without an error of Euler's steps, `s_zm = 1, s_zu s_vm = s_vu = 1 - c` answers with `exp(-c t)`:

        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> perfect = ol.Overlaps.from_entries(model.layout, zm=1.0, zu=0.8, vm=1.0, vu=0.8, vv=4.0, zz=4.0, uu=2.0)
        >>> task = ol.tasks.impulse_response(cosines=[[[1.0]]], decays=[0.2], dt=0)
        >>> bool(ol.loss(model, task, perfect) < 1e-14)
        True
    """
    n = _steps(duration, dt, "impulse_response")
    impulses = _shaped(np.ones((1, 1)) if impulses is None else impulses, "impulses", "[B, n_in]", 2)
    cosines = _shaped(cosines, "cosines", "[B, J, n_out]", 3)
    decays = _shaped(decays, "decays", "[J]", 1)
    _check(
        len(cosines) == len(impulses),
        "cosines [B, J, n_out] and impulses [B, n_in] must have the same trials",
        cosines,
        impulses,
    )
    _check(
        cosines.shape[1] == len(decays),
        "cosines [B, J, n_out] and decays [J] must have the same terms",
        cosines,
        decays,
    )
    decays = _checked_decays(decays, dt)
    if frequencies is None:
        if sines is not None:
            raise ValueError("impulse_response: sines need frequencies; without them nothing oscillates.")
    else:
        frequencies = _shaped(frequencies, "frequencies", "[J]", 1)
        _check(frequencies.shape == decays.shape, "frequencies and decays must both be [J]", frequencies, decays)
        sines = in_jax(np.zeros(cosines.shape)) if sines is None else _shaped(sines, "sines", "[B, J, n_out]", 3)
        _check(sines.shape == cosines.shape, "sines and cosines must both be [B, J, n_out]", sines, cosines)
    dtype = jnp.result_type(impulses, cosines, decays, float)
    given = Response(impulses, decays, cosines, frequencies, sines)
    response: Response = jax.tree.map(lambda array: array.astype(dtype), in_numpy(given))
    response.check_finite("impulse_response")
    if n == 0:
        return _in_continuous_time(response, duration, published_time_axis)
    if published_time_axis and n < 2:
        raise ValueError("impulse_response: the published time axis needs at least two readings, duration >= 2 dt.")
    step = in_numpy(in_jax(dt)).astype(dtype)
    spacing = n * step / (n - 1) if published_time_axis else step
    sums = sums_of_steps(response, step, spacing, n)
    return _task(ImpulseTrials(response, step, spacing, sums, n_readings=n), step)


def _in_continuous_time(response: Response, duration: float, published_time_axis: bool) -> Task:
    if published_time_axis:
        raise ValueError("impulse_response: published_time_axis is about steps; with dt=0 there are none.")
    rates = response.decays if response.frequencies is None else response.decays + abs(response.frequencies)
    if is_traced(rates):
        response = eqx.tree_at(lambda r: r.decays, response, later(response.decays, lambda _: rates <= FASTEST))
    elif float(np.max(rates)) > FASTEST:
        raise ValueError(
            f"impulse_response: with dt=0, decay + abs(frequency) must be at most {FASTEST:g} per neuronal time "
            f"constant, got {float(np.max(rates)):g}; give dt to step through time."
        )
    trials = ContinuousTrials(response, sums_in_continuous_time(response, float(duration)))
    return _task(trials, np.zeros((), response.areas.dtype))


def _task(trials: ImpulseTrials | ContinuousTrials, dt: Any) -> Task:
    """The task of trials that have been checked, its arrays in jax."""
    return task_of(*jax.tree.map(in_jax, (trials, dt)))


def exponential_filter(
    decay: ArrayLike = 0.2, duration: float = 20.0, dt: float = 0.05, *, published_time_axis: bool = False
) -> Task:
    """Low-pass filter: answer an impulse with `exp(-c t)`.

    Input, reading and loss are those of `impulse_response`. For linear phi and rank 1 the continuous-time solution is
    `s_zm = 1`, `s_zu s_vm = 1 - c`, `s_vu = 1 - c`.

    Args:
        decay: c, positive, with `c dt < 2` (else Euler can't follow `exp(-c t)` stably).
        duration: time read, in neuronal time constants.
        dt: the Euler step; 0: continuous time, as in `impulse_response`.
        published_time_axis: as in `impulse_response`.

    Returns:
        A `Task` of one trial, `T = duration / dt + 1` steps (none in continuous time), one input and one output.

    Raises:
        ValueError: if decay, duration or dt is out of range.

    Source: Ger & Barak 2026, Figs. 1, 3, 5.

    Examples:
        >>> task = ol.tasks.exponential_filter(decay=0.2, duration=20.0, dt=0.05)
        >>> task.inputs.shape, float(task.inputs[0, 0, 0]), float(task.targets[0, 1, 0])
        ((1, 401, 1), 20.0, 1.0)
    """
    _steps(duration, dt, "exponential_filter")
    decay = _stable_decay(decay, dt, "exponential_filter")
    return impulse_response(
        np.ones((1, 1, 1)), in_numpy(decay)[None], duration=duration, dt=dt, published_time_axis=published_time_axis
    )


def damped_oscillation(
    decay: ArrayLike = 0.3,
    frequency: ArrayLike = 2.0,
    duration: float = 20.0,
    dt: float = 0.05,
    *,
    published_time_axis: bool = False,
) -> Task:
    """Answer an impulse with `exp(-c t) cos(omega t)`; it takes a linear network of rank 2.

    Input, reading and loss are those of `impulse_response`.

    Args:
        decay: c, positive, with `c dt < 2`.
        frequency: omega, in radians per neuronal time constant.
        duration: time read, in neuronal time constants.
        dt: the Euler step; 0: continuous time, as in `impulse_response`.
        published_time_axis: as in `impulse_response`.

    Returns:
        A `Task` of one trial, `T = duration / dt + 1` steps (none in continuous time), one input and one output.

    Raises:
        ValueError: if an argument is out of range.

    Source: Ger & Barak 2026, Fig. 12.

    Examples:
        >>> ol.tasks.damped_oscillation(duration=2.0, dt=0.1).targets[0, 1:4, 0].round(3)
        Array([1.   , 0.951, 0.867], dtype=float64)
    """
    _steps(duration, dt, "damped_oscillation")
    decay = _stable_decay(decay, dt, "damped_oscillation")
    frequency = scalar(frequency, "damped_oscillation: frequency", "a finite number", -jnp.inf)
    return impulse_response(
        np.ones((1, 1, 1)),
        in_numpy(decay)[None],
        in_numpy(frequency)[None],
        duration=duration,
        dt=dt,
        published_time_axis=published_time_axis,
    )


def _steps(duration: float, dt: float, caller: str) -> int:
    """The number of Euler steps, 0 in continuous time."""
    allowed = "0 (continuous time), or above 0 and below 2 (else Euler's leak 1 - dt makes every state grow)"
    scalar(dt, f"{caller}: dt", allowed, 0, 2 - 1e-9, open_low=False)
    if not is_zero(dt):
        return steps(duration, dt, caller)
    scalar(duration, f"{caller}: duration", f"positive and at most {LONGEST:g}", 0, LONGEST)
    return 0


def _stable_decay(decay: ArrayLike, dt: float, caller: str) -> jax.Array:
    decay = scalar(decay, f"{caller}: decay", "positive", 0)
    if is_traced(decay, dt):
        return later(decay, lambda x: x * dt < 2)
    if not float(decay) * dt < 2:
        raise ValueError(
            f"{caller}: decay * dt must be below 2 (beyond, Euler's step 1 - decay dt is unstable), "
            f"got decay={float(decay):g} with dt={dt:g}; use dt < {2 / float(decay):.3g}."
        )
    return decay


def _shaped(value: ArrayLike, name: str, shape: str, n_axes: int) -> jax.Array:
    array = floating(value, f"impulse_response: {name}")
    if array.ndim != n_axes or 0 in array.shape:
        raise ValueError(f"impulse_response: {name} must have shape {shape}, none of them 0, got {list(array.shape)}.")
    return later(array, jnp.isfinite) if is_traced(array) else array


def _check(good: bool, rule: str, *arrays: jax.Array) -> None:
    if not good:
        raise ValueError(f"impulse_response: {rule}, got {' and '.join(str(list(array.shape)) for array in arrays)}.")


def _checked_decays(decays: jax.Array, dt: float) -> jax.Array:
    if is_traced(decays):
        return later(decays, lambda x: jnp.isfinite(x) & (x > 0) & (x * dt < 2))
    for decay in np.asarray(decays):
        _stable_decay(float(decay), dt, "impulse_response")
    return decays
