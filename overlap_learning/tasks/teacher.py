"""The teacher task: imitate another network."""

import functools

import equinox as eqx
import jax
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import check_key, count, in_jax, in_numpy, scalar, with_values
from overlap_learning.model.activations import Erf
from overlap_learning.model.activity import reduced_outputs
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.tasks.flip_flop import flip_flop
from overlap_learning.tasks.task import Task

#: The visible overlaps of the published teacher, a rank-1 erf network.
PUBLISHED_TEACHER = {"zm": 0.5, "zu": 2.3, "vm": 2.0, "vu": 1.5, "mu": 1.6, "mm": 1.8, "uu": 2.2}


def teacher(
    *,
    key: jax.Array,
    n_trials: int = 128,
    duration: float = 20.0,
    dt: float = 0.05,
    white_noise: ArrayLike = 1.5,
    pulses: ArrayLike = 2.0,
    wait_range: tuple[float, float] = (1.0, 2.0),
    visible: tuple[tuple[str, float], ...] = tuple(PUBLISHED_TEACHER.items()),
) -> Task:
    """Imitate the reduced activity of a rank-1 erf network on noise and pulses.

    Input: `white_noise` times normal noise, new at each step, plus `pulses` times the input of `flip_flop`. Target: the
    teacher's output (eq. 4). Loss: the time integral of the squared difference, `sum (y - target)^2 dt`, averaged over
    trials (the mean squared difference times the duration).

    Args:
        key: a jax random key.
        n_trials: B.
        duration: trial length, in neuronal time constants.
        dt: the Euler step.
        white_noise: standard deviation of the noise per step.
        pulses: amplitude of the pulses.
        wait_range: shortest and longest wait between pulses, as in `flip_flop`.
        visible: the teacher's visible overlaps as (name, value) pairs; those not named are those of orthonormal
            vectors.

    Returns:
        A `Task` with inputs [B, T, 1], targets [B, T, 1].

    Raises:
        ValueError: if an argument is out of range.

    Source: Ger & Barak 2026, Fig. 4d-f.

    Examples:
        >>> task = ol.tasks.teacher(key=jax.random.key(0), n_trials=2)
        >>> task.targets.shape
        (2, 400, 1)
    """
    check_key(key, "teacher")
    count(n_trials, "teacher: n_trials")
    white_noise = scalar(white_noise, "teacher: white_noise", "at least 0", 0, open_low=False)
    pulse_key, noise_key = _keys(key)
    drive = flip_flop(
        key=pulse_key, n_trials=n_trials, duration=duration, dt=dt, wait_range=wait_range, input_amplitude=pulses
    )
    pulses, draws, white_noise, step = in_numpy(
        (drive.inputs, _noise(noise_key, drive.inputs.shape), white_noise, drive.dt)
    )
    drive = Task(
        inputs=pulses + white_noise * draws,
        targets=drive.targets,
        weights=np.full(drive.weights.shape, 1 / n_trials) * step,
        dt=dt,
    )
    model = Model(Layout(), Erf())
    gram = np.eye(model.layout.size)
    for name, value in visible:
        rows, columns = model.layout.locate(name)
        gram = with_values(with_values(gram, (rows, columns), value), (columns, rows), value)
    return Task(drive.inputs, _outputs(model, in_jax(gram), drive), drive.weights, dt)


_keys = jax.jit(jax.random.split)
_noise = functools.partial(jax.jit, static_argnums=1)(jax.random.normal)
_outputs = eqx.filter_jit(reduced_outputs)
