"""The context task: report the one of two noisy signals that a cue selects."""

import functools

import jax
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import check_key, count, in_numpy, namespace, scalar
from overlap_learning.tasks.after_update import read_after_update
from overlap_learning.tasks.task import Task
from overlap_learning.tasks.time import steps

FIXATION, STIMULUS, DELAY, DECISION = 3.0, 20.0, 5.0, 20.0


def mante(
    *,
    key: jax.Array,
    n_trials: int = 32,
    dt: float = 0.5,
    coherences: tuple[float, ...] = (-1.0, -0.5, -0.25, -0.125, 0.125, 0.25, 0.5, 1.0),
    noise: ArrayLike = 0.05,
    target_amplitude: ArrayLike = 0.5,
) -> Task:
    """Context-dependent decision: fixation 3, stimulus 20, delay 5, decision 20 (neuronal time constants).

    Inputs 0 and 1 are the contexts: one of them, drawn for each trial, is 1 during the stimulus. Inputs 2 and 3 are the
    signals: each has a coherence of its own during the stimulus, and white noise of standard deviation
    `noise / sqrt(dt)` per step in the whole trial. The target is 0 until the stimulus ends, and during the decision
    `target_amplitude` times the sign of the signal of the context; the delay does not count. The loss is half the mean
    of the squared error. Outputs are read after the update of their step.

    Args:
        key: a jax random key.
        n_trials: B.
        dt: the Euler step.
        coherences: the values that trials draw from.
        noise: of the signals, in units of the square root of a time constant.
        target_amplitude: height of the target.

    Returns:
        A `Task` with inputs [B, T, 4], targets [B, T, 1], `T = 48 / dt + 1`.

    Raises:
        ValueError: if an argument is out of range.

    Source: Schuessler et al. 2020, section 2 and its supplement (after Mante et al. 2013).

    Examples:
        >>> task = ol.tasks.mante(key=jax.random.key(0), n_trials=5)
        >>> task.inputs.shape, task.targets.shape
        ((5, 97, 4), (5, 97, 1))
    """
    check_key(key, "mante")
    n_trials = count(n_trials, "mante: n_trials")
    noise = scalar(noise, "mante: noise", "at least 0", 0, open_low=False)
    target_amplitude = scalar(target_amplitude, "mante: target_amplitude", "a finite number", -np.inf)
    if len(coherences) == 0 or not np.all(np.isfinite(coherences)):
        raise ValueError(f"mante: coherences must be one or more finite numbers, got {coherences}.")
    lengths = [steps(period, dt, "mante") for period in (FIXATION, STIMULUS, DELAY, DECISION)]
    fixation_end, stimulus_end, delay_end, n = np.cumsum(lengths)
    count(n_trials, "mante: n_trials", each=8 * 8 * n)
    now = np.arange(n)
    in_stimulus = ((now >= fixation_end) & (now < stimulus_end)).astype(float)[:, None]
    in_decision = (now >= delay_end).astype(float)[:, None]

    context, coherence, draws, noise, amplitude = in_numpy(
        (*_drawn(key, np.asarray(coherences, dtype=float), (n_trials, int(n))), noise, target_amplitude)
    )
    xp = namespace(context, noise, amplitude)
    signals = coherence[:, None] * in_stimulus + noise / np.sqrt(dt) * draws
    cue = (context == np.arange(2)).astype(float)[:, None] * in_stimulus
    sign = xp.sign(xp.take_along_axis(coherence, context, axis=1))[:, None]
    mask = np.broadcast_to((now < stimulus_end).astype(float)[:, None] + in_decision, (n_trials, n, 1))
    return read_after_update(xp.concatenate([cue, signals], axis=-1), amplitude * sign * in_decision, mask, dt)


@functools.partial(jax.jit, static_argnums=2)
def _drawn(key: jax.Array, coherences: ArrayLike, shape: tuple[int, int]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The context of each trial, 0 or 1, shape [B, 1]; both its coherences, [B, 2]; noise of each step, [B, T, 2]."""
    context_key, coherence_key, noise_key = jax.random.split(key, 3)
    context = jax.random.bernoulli(context_key, shape=(shape[0], 1)).astype(int)
    coherence = jax.random.choice(coherence_key, coherences, (shape[0], 2))
    return context, coherence, jax.random.normal(noise_key, (*shape, 2))
