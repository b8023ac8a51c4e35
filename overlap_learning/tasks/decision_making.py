"""The decision-making task: report the coherence of a noisy stimulus after a delay."""

import functools

import jax
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import check_key, count, in_numpy, namespace, scalar
from overlap_learning.tasks.task import Task
from overlap_learning.tasks.time import steps

FIXATION, STIMULUS, DELAY, RESPONSE = 1.0, 9.0, 1.0, 9.0
#: Input per per cent of coherence.
COHERENCE_GAIN = 3.2 / 100


def decision_making(
    *,
    key: jax.Array,
    n_trials: int = 128,
    dt: float = 0.05,
    coherences: tuple[float, ...] = (-16.0, -8.0, -2.0, 2.0, 8.0, 16.0),
    noise: ArrayLike = 0.05,
    target_amplitude: ArrayLike = 1.0,
    categorical: bool = False,
) -> Task:
    """Perceptual decision: fixation 1, stimulus 9, delay 1, response 9 (neuronal time constants).

    The input is independent noise at every step, plus `coherence * 3.2 / 100` during the stimulus. The target during
    the response is `target_amplitude * coherence / 16`, or `target_amplitude * sign(coherence)` if categorical. The
    loss is the mean of the squared error over the response.

    Args:
        key: a jax random key.
        n_trials: B.
        dt: the Euler step.
        coherences: the values that trials draw from, in per cent.
        noise: standard deviation of the input noise per step.
        target_amplitude: height of the target at coherence 16.
        categorical: whether the target is the sign of the coherence.

    Returns:
        A `Task` with inputs [B, T, 1], targets [B, T, 1], `T = 20 / dt`.

    Raises:
        ValueError: if an argument is out of range.

    Source: Ger & Barak 2026, Fig. 4d-f.

    Examples:
        >>> task = ol.tasks.decision_making(key=jax.random.key(0), n_trials=5)
        >>> task.targets.shape
        (5, 400, 1)
    """
    check_key(key, "decision_making")
    n_trials = count(n_trials, "decision_making: n_trials")
    noise = scalar(noise, "decision_making: noise", "at least 0", 0, open_low=False)
    target_amplitude = scalar(target_amplitude, "decision_making: target_amplitude", "a finite number", -np.inf)
    if len(coherences) == 0 or not np.all(np.isfinite(coherences)):
        raise ValueError(f"decision_making: coherences must be one or more finite numbers, got {coherences}.")
    ends = np.cumsum([FIXATION, STIMULUS, DELAY, RESPONSE])
    n = steps(float(ends[-1]), dt, "decision_making")
    count(n_trials, "decision_making: n_trials", each=6 * 8 * n)
    fixation_end, stimulus_end, delay_end = (round(end / dt) for end in ends[:3])
    now = np.arange(n)
    in_stimulus = (now >= fixation_end) & (now < stimulus_end)
    in_response = (now >= delay_end).astype(float)

    coherence, draws, noise, amplitude = in_numpy(
        (*_drawn(key, np.asarray(coherences, dtype=float), (n_trials, n)), noise, target_amplitude)
    )
    xp = namespace(coherence, noise, amplitude)
    inputs = COHERENCE_GAIN * coherence * in_stimulus + noise * draws
    level = xp.sign(coherence) if categorical else coherence / 16
    counted = np.broadcast_to(in_response, (n_trials, n))[..., None]
    return Task(
        inputs=inputs[..., None],
        targets=(amplitude * level * in_response)[..., None],
        weights=counted / counted.sum(),
        dt=dt,
    )


@functools.partial(jax.jit, static_argnums=2)
def _drawn(key: jax.Array, coherences: ArrayLike, shape: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """The coherence of each trial, shape [B, 1], and the noise of each step at a standard deviation of 1."""
    coherence_key, noise_key = jax.random.split(key)
    coherence = jax.random.choice(coherence_key, coherences, (shape[0], 1))
    return coherence, jax.random.normal(noise_key, shape)
