"""The flip-flop task: remember the sign of the last pulse."""

import functools

import jax
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import check_key, count, in_numpy, namespace, scalar
from overlap_learning.tasks.task import Task
from overlap_learning.tasks.time import steps

FIRST_PULSE = 0.5
PULSE_DURATION = 0.5
DECISION_DELAY = 2.0


def flip_flop(
    *,
    key: jax.Array,
    n_trials: int = 10,
    duration: float = 20.0,
    dt: float = 0.05,
    wait_range: tuple[float, float] = (4.0, 10.0),
    input_amplitude: ArrayLike = 1.0,
    target_amplitude: ArrayLike = 0.5,
) -> Task:
    """One-channel flip-flop: pulses of random sign at random times; the output keeps the sign of the last one.

    The first pulse comes at 0.5. A pulse lasts 0.5, then a decision delay of 2.0, then a wait drawn uniformly from
    `wait_range`, then the next pulse. Target: `target_amplitude * sign` from a pulse's onset to the next. The loss is
    the mean of the squared error over the readings between the end of a decision delay and one step before the next
    pulse, over all trials together.

    Args:
        key: a jax random key.
        n_trials: B.
        duration: trial length, in neuronal time constants.
        dt: the Euler step.
        wait_range: shortest and longest wait.
        input_amplitude: height of the pulses.
        target_amplitude: height of the target.

    Returns:
        A `Task` with inputs [B, T, 1], targets [B, T, 1].

    Raises:
        ValueError: if an argument is out of range, or the trial ends before the first decision delay does (so that
            the loss would be empty).

    Source: Ger & Barak 2026, Fig. 4.

    Examples:
        >>> task = ol.tasks.flip_flop(key=jax.random.key(0), n_trials=3, duration=20.0, dt=0.05)
        >>> task.inputs.shape
        (3, 400, 1)
        >>> float(task.weights.sum().round(12))
        1.0
    """
    n = steps(duration, dt, "flip_flop")
    check_key(key, "flip_flop")
    n_trials = count(n_trials, "flip_flop: n_trials", each=6 * 8 * n)
    input_amplitude = scalar(input_amplitude, "flip_flop: input_amplitude", "a finite number", -np.inf)
    target_amplitude = scalar(target_amplitude, "flip_flop: target_amplitude", "a finite number", -np.inf)
    shortest, longest = wait_range if np.shape(wait_range) == (2,) else (np.nan, np.nan)
    if not 2 * dt <= shortest <= longest < np.inf:
        raise ValueError(
            "flip_flop: wait_range must be (shortest, longest), with a shortest wait of at least two steps "
            f"({2 * dt:g}; the loss is read in the wait, up to one step before the next pulse), got {wait_range}."
        )
    cycle = PULSE_DURATION + DECISION_DELAY
    if round(PULSE_DURATION / dt) < 1:
        raise ValueError(f"flip_flop: a pulse of {PULSE_DURATION} needs at least one step; use dt below 1, got {dt}.")
    if n <= round(FIRST_PULSE / dt) + round(cycle / dt):
        raise ValueError(
            f"flip_flop: duration must be above {FIRST_PULSE + PULSE_DURATION + DECISION_DELAY} (the end of the first "
            f"decision delay, where the loss begins), got {duration}."
        )
    n_pulses = int((duration - FIRST_PULSE) // (cycle + shortest)) + 2

    waits, signs, amplitudes = in_numpy(
        (*_drawn(key, (n_trials, n_pulses), shortest, longest), (input_amplitude, target_amplitude))
    )
    xp = namespace(waits, amplitudes)
    onsets = FIRST_PULSE + xp.cumsum(cycle + waits, axis=1) - (cycle + waits)
    onsets = xp.round(onsets / dt).astype(int)

    now = np.arange(n)
    # The pulse that each step belongs to: the last one begun, -1 before the first.
    current = xp.sum(now[None, :, None] >= onsets[:, None, :], axis=-1) - 1
    begun = current >= 0
    onset = xp.take_along_axis(onsets, xp.maximum(current, 0), axis=1)
    following = xp.take_along_axis(onsets, xp.minimum(current + 1, n_pulses - 1), axis=1)
    sign = xp.take_along_axis(signs, xp.maximum(current, 0), axis=1) * begun
    in_pulse = begun & (now < onset + round(PULSE_DURATION / dt))
    counted = begun & (now >= onset + round(cycle / dt)) & (now < following - 1)

    counted = counted.astype(float)[..., None]
    return Task(
        inputs=(amplitudes[0] * sign * in_pulse)[..., None],
        targets=(amplitudes[1] * sign)[..., None],
        weights=counted / counted.sum(),
        dt=dt,
    )


@functools.partial(jax.jit, static_argnums=1)
def _drawn(
    key: jax.Array, shape: tuple[int, int], shortest: ArrayLike, longest: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    """The wait after each pulse, and its sign."""
    wait_key, sign_key = jax.random.split(key)
    waits = jax.random.uniform(wait_key, shape, minval=shortest, maxval=longest)
    return waits, jax.random.rademacher(sign_key, shape, dtype=float)
