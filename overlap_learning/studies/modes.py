"""Modes: how the activity of a linear network decays and turns, and the overlaps that have it do so as asked."""

import math
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike


class Mode(NamedTuple):
    """One mode of a linear network's activity, `exp(-decay t) cos(frequency t)`.

    Attributes:
        decay: per neuronal time constant; negative: it grows.
        frequency: in radians per neuronal time constant.
    """

    decay: float
    frequency: float


def slowest_mode(recurrence: ArrayLike, dt: float) -> Mode:
    """The mode of a linear network that is left when the others have decayed.

    With kappa an eigenvalue of `v^T u / N`, an Euler step multiplies its mode by `1 + dt (kappa - 1)`.

    Args:
        recurrence: the overlaps of v with u, `overlaps["v", "u"]`, shape [rank, rank].
        dt: the Euler step.

    Source: Ger & Barak 2026, Fig. 12.

    Examples:
        >>> decay, frequency = ol.studies.slowest_mode([[0.7, 2.0], [-2.0, 0.7]], dt=1e-3)
        >>> round(decay, 2), round(frequency, 2)
        (0.3, 2.0)
    """
    values = np.linalg.eigvals(np.asarray(recurrence))
    exponents = np.log(1 + dt * (values.astype(complex) - 1)) / dt
    slowest = exponents[np.argmax(exponents.real)]
    return Mode(float(-slowest.real), float(abs(slowest.imag)))


def filter_solution(decay: float, dt: float) -> tuple[float, float, float]:
    """Values of `s_zm`, `s_zu s_vm` and `s_vu` with which a linear rank-1 network answers an impulse with `exp(-c t)`.

    The recurrent mode shrinks by `1 - dt (1 - s_vu)` in an Euler step, which has to be `exp(-c dt)`; the mode of the
    leak, `(1 - dt)^n`, vanishes from the output if `s_zu s_vm = s_zm s_vu`. As dt goes to 0: 1, 1 - c, 1 - c.

    Args:
        decay: c.
        dt: the Euler step.

    Source: Ger & Barak 2026, Fig. 5 (in continuous time).

    Examples:
        >>> [round(value, 4) for value in ol.studies.filter_solution(0.2, 0.05)]
        [1.0, 0.801, 0.801]
    """
    recurrence = 1 + math.expm1(-decay * dt) / dt
    return 1.0, recurrence, recurrence
