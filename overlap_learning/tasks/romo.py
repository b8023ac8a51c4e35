"""The comparison task: which of two pulses was the higher one."""

import functools

import jax
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import check_key, count, in_numpy, namespace, scalar
from overlap_learning.tasks.after_update import read_after_update
from overlap_learning.tasks.task import Task
from overlap_learning.tasks.time import steps

FIXATION, PULSE, DECISION_DELAY, DECISION = 3.0, 1.0, 5.0, 10.0


def romo(
    *,
    key: jax.Array,
    n_trials: int = 32,
    dt: float = 0.5,
    delay_range: tuple[float, float] = (2.0, 8.0),
    least_difference: float = 0.2,
    target_amplitude: ArrayLike = 0.5,
) -> Task:
    """Delayed comparison of two pulses: fixation 3, pulse 1, delay, pulse 1, decision delay 5, decision 10.

    The heights of the pulses are uniform in (0.5, 1.5), of those pairs that differ by `least_difference`. The target of
    both outputs is 0 until the second pulse ends; during the decision output 0 is to be `target_amplitude` if the first
    pulse was the higher one, output 1 if the second was, and the other one 0. The decision delay, and what is left of a
    trial with a short delay, do not count. The loss is half the mean of the squared error. Outputs are read after the
    update of their step.

    Args:
        key: a jax random key.
        n_trials: B.
        dt: the Euler step.
        delay_range: shortest and longest delay, drawn uniformly.
        least_difference: of the two heights, at least 0 and below 1.
        target_amplitude: height of the target.

    Returns:
        A `Task` with inputs [B, T, 1], targets [B, T, 2], `T = 28 / dt + 1` for the longest delay of 8.

    Raises:
        ValueError: if an argument is out of range.

    Source: Schuessler et al. 2020, section 2 and its supplement (after Romo et al. 1999).

    Examples:
        >>> task = ol.tasks.romo(key=jax.random.key(0), n_trials=5)
        >>> task.inputs.shape, task.targets.shape
        ((5, 57, 1), (5, 57, 2))
    """
    check_key(key, "romo")
    n_trials = count(n_trials, "romo: n_trials")
    target_amplitude = scalar(target_amplitude, "romo: target_amplitude", "a finite number", -np.inf)
    scalar(least_difference, "romo: least_difference", "at least 0 and below 1", 0, 1 - 1e-9, open_low=False)
    shortest, longest = delay_range if np.shape(delay_range) == (2,) else (np.nan, np.nan)
    if not dt <= shortest <= longest < np.inf:
        raise ValueError(
            f"romo: delay_range must be (shortest, longest), of at least one step ({dt:g}), got {delay_range}."
        )
    fixation, pulse, wait, decision = (
        steps(period, dt, "romo") for period in (FIXATION, PULSE, DECISION_DELAY, DECISION)
    )
    n = fixation + 2 * pulse + steps(longest, dt, "romo") + wait + decision
    count(n_trials, "romo: n_trials", each=8 * 8 * n)

    delay, gap, height, first_is_higher, amplitude = in_numpy(
        (*_drawn(key, n_trials, shortest, longest), target_amplitude)
    )
    xp = namespace(delay, amplitude)
    second = fixation + pulse + xp.floor(delay / dt + 1e-9).astype(int)
    # The difference d of two uniform numbers has the density 2 (1 - d): of those from the least one on, 1 - d is the
    # largest possible times the root of a uniform number. The lower height is then uniform.
    difference = 1 - (1 - least_difference) * xp.sqrt(gap)
    low = 0.5 + (1 - difference) * height
    heights = [low + difference * higher for higher in (first_is_higher, ~first_is_higher)]

    now = np.arange(n)
    inputs = heights[0] * ((now >= fixation) & (now < fixation + pulse))
    inputs = inputs + heights[1] * ((now >= second) & (now < second + pulse))
    begin = second + pulse + wait
    in_decision = ((now >= begin) & (now < begin + decision)).astype(float)
    choice = xp.concatenate([first_is_higher, ~first_is_higher], axis=1)
    counted = (now < second + pulse) + in_decision
    return read_after_update(
        inputs[..., None],
        amplitude * choice[:, None] * in_decision[..., None],
        xp.broadcast_to(counted[..., None], (n_trials, n, 2)),
        dt,
    )


@functools.partial(jax.jit, static_argnums=1)
def _drawn(key: jax.Array, n_trials: int, shortest: ArrayLike, longest: ArrayLike) -> tuple[jax.Array, ...]:
    """Of each trial the delay, two uniform numbers, and whether the first pulse is the higher one."""
    delay_key, difference_key, low_key, order_key = jax.random.split(key, 4)
    delay = jax.random.uniform(delay_key, (n_trials, 1), minval=shortest, maxval=longest)
    numbers = (jax.random.uniform(each, (n_trials, 1)) for each in (difference_key, low_key))
    return delay, *numbers, jax.random.bernoulli(order_key, shape=(n_trials, 1))
