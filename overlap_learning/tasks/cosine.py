"""The cosine: an oscillation without an input, from a given state."""

import jax.numpy as jnp
import numpy as np

from overlap_learning.tasks.after_update import read_after_update
from overlap_learning.tasks.task import Task
from overlap_learning.tasks.time import steps


def cosine(*, period: float = 5.0, n_periods: float = 2.0, duration: float = 20.0, dt: float = 0.1) -> Task:
    """`y(t) = cos(2 pi t / period)` during the first periods, without input, from the state `h(0) = m`.

    The loss is half the mean of the squared error over these periods. Outputs are read after the update of their step.
    With a readout that is the input vector, as published, a linear network whose connectivity is 0 can't learn it: its
    state stays along that vector, and so does its gradient.

    Args:
        period: of the cosine, in neuronal time constants.
        n_periods: how many of them count.
        duration: trial length.
        dt: the Euler step.

    Returns:
        A `Task` with one trial, inputs [1, T, 1] and targets [1, T, 1], `T = duration / dt + 2`.

    Raises:
        ValueError: if an argument is out of range, or the counted periods are longer than the trial.

    Source: Schuessler et al. 2020, supplement.

    Examples:
        >>> task = ol.tasks.cosine()
        >>> task.inputs.shape, float(task.silent_loss().round(12))
        ((1, 202, 1), 0.25)
    """
    n, counted = steps(duration, dt, "cosine"), steps(n_periods * period, dt, "cosine")
    if counted > n:
        raise ValueError(
            f"cosine: {n_periods:g} periods of {period:g} must fit into duration={duration:g}, got "
            f"{n_periods * period:g}."
        )
    now = np.arange(n)
    target = np.where(now < counted, np.cos(2 * np.pi * dt * now / period), 0.0)
    mask = (now < counted).astype(float)
    inputs, targets, masks = (jnp.asarray(array)[None, :, None] for array in (np.zeros(n), target, mask))
    return read_after_update(inputs, targets, masks, dt).starting_from(jnp.ones(1))
