"""The flip-flop of several channels: remember the last pulse."""

import functools

import jax
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import check_key, count, in_numpy, namespace, scalar
from overlap_learning.tasks.after_update import read_after_update
from overlap_learning.tasks.task import Task
from overlap_learning.tasks.time import steps

FIXATION, PULSE, DECISION_DELAY = 1.0, 1.0, 5.0
#: What the output of a channel is to do while the last pulse was on another one.
OTHER_CHANNEL = ("zero", "hold")


def flip_flop_channels(
    *,
    key: jax.Array,
    n_trials: int = 32,
    n_channels: int = 2,
    duration: float = 50.0,
    dt: float = 0.5,
    wait_range: tuple[float, float] = (5.0, 25.0),
    other_channel: str = "zero",
    target_amplitude: ArrayLike = 0.5,
) -> Task:
    """Pulses of random sign on random channels at random times; the outputs keep what the last one said.

    The first pulse comes at 1 and lasts 1. From 5 after a pulse's onset, the output of its channel is to be
    `target_amplitude` times its sign, until the next pulse, which comes a wait drawn uniformly from `wait_range` later.
    Outputs of the other channels are to be 0 (`other_channel="zero"`, as published: a memory of the channel and the
    sign of the last pulse), or to keep the last sign of their own channel ("hold": independent flip-flops; 0 before its
    first pulse). Only these windows count. The loss is half the mean of the squared error over them, of all channels.
    Outputs are read after the update of their step.

    Args:
        key: a jax random key.
        n_trials: B.
        n_channels: inputs, and outputs.
        duration: trial length, in neuronal time constants.
        dt: the Euler step.
        wait_range: shortest and longest wait after the decision delay of 5.
        other_channel: "zero" or "hold".
        target_amplitude: height of the target.

    Returns:
        A `Task` with inputs and targets [B, T, n_channels], `T = duration / dt + 1`.

    Raises:
        ValueError: if an argument is out of range, or a trial ends before its first window begins.

    Source: Schuessler et al. 2020, section 2, Figs. 1, 2 and its supplement. The text says that channels are remembered
    independently; the published network does what "zero" asks for.

    Examples:
        >>> task = ol.tasks.flip_flop_channels(key=jax.random.key(0), n_trials=3)
        >>> task.inputs.shape, float(task.silent_loss().round(12))
        ((3, 101, 2), 0.0625)
    """
    check_key(key, "flip_flop_channels")
    n_trials = count(n_trials, "flip_flop_channels: n_trials")
    n_channels = count(n_channels, "flip_flop_channels: n_channels")
    target_amplitude = scalar(target_amplitude, "flip_flop_channels: target_amplitude", "a finite number", -np.inf)
    if other_channel not in OTHER_CHANNEL:
        raise ValueError(f'flip_flop_channels: other_channel must be "zero" or "hold", got {other_channel!r}.')
    shortest, longest = wait_range if np.shape(wait_range) == (2,) else (np.nan, np.nan)
    if not dt <= shortest <= longest < np.inf:
        raise ValueError(
            f"flip_flop_channels: wait_range must be (shortest, longest), of at least one step ({dt:g}), got "
            f"{wait_range}."
        )
    fixation, pulse, delay = (steps(period, dt, "flip_flop_channels") for period in (FIXATION, PULSE, DECISION_DELAY))
    n = steps(duration, dt, "flip_flop_channels")
    count(n_trials, "flip_flop_channels: n_trials", each=6 * 8 * n * n_channels)
    if n <= fixation + delay:
        raise ValueError(
            f"flip_flop_channels: duration must be above {FIXATION + DECISION_DELAY}, where the first window begins, "
            f"got {duration}."
        )
    n_pulses = 1 + (n - fixation) // (delay + steps(shortest, dt, "flip_flop_channels"))

    waits, channel, signs, amplitude = in_numpy(
        (*_drawn(key, (n_trials, n_pulses), shortest, longest, n_channels), target_amplitude)
    )
    xp = namespace(waits, amplitude)
    intervals = xp.floor((DECISION_DELAY + waits) / dt + 1e-9).astype(int)
    onsets = fixation + xp.cumsum(intervals, axis=1) - intervals
    pulses = (channel[..., None] == np.arange(n_channels)) * signs[..., None]
    kept = pulses
    if other_channel == "hold":
        # Of each pulse and channel the last pulse up to then that was its own; before the first one 0 is kept.
        numbers = np.arange(n_pulses)
        is_own = (pulses != 0)[:, None] & (numbers <= numbers[:, None])[..., None]
        last = xp.max(xp.where(is_own, numbers[:, None], -1), axis=2)
        kept = xp.where(last >= 0, xp.take_along_axis(pulses, xp.maximum(last, 0), axis=1), 0.0)
    # The pulse that each step belongs to: the last one begun, -1 before the first.
    now = np.arange(n)
    current = xp.sum(now[None, :, None] >= onsets[:, None, :], axis=-1) - 1
    index = xp.maximum(current, 0)
    since = now - xp.take_along_axis(onsets, index, axis=1)
    counted = ((current >= 0) & (since >= delay)).astype(float)[..., None]
    is_on = ((current >= 0) & (since < pulse)).astype(float)[..., None]
    return read_after_update(
        is_on * xp.take_along_axis(pulses, index[..., None], axis=1),
        amplitude * counted * xp.take_along_axis(kept, index[..., None], axis=1),
        xp.broadcast_to(counted, (n_trials, n, n_channels)),
        dt,
    )


@functools.partial(jax.jit, static_argnums=(1, 4))
def _drawn(
    key: jax.Array, shape: tuple[int, int], shortest: ArrayLike, longest: ArrayLike, n_channels: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The wait after each pulse, its channel, and its sign."""
    wait_key, channel_key, sign_key = jax.random.split(key, 3)
    waits = jax.random.uniform(wait_key, shape, minval=shortest, maxval=longest)
    signs = jax.random.rademacher(sign_key, (*shape, 1), dtype=float)
    return waits, jax.random.randint(channel_key, shape, 0, n_channels), signs[..., 0]
