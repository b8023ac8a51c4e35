"""Time: from durations in neuronal time constants to steps."""

import numpy as np


def steps(duration: float, dt: float) -> int:
    """The number of Euler steps of a duration.

    Raises:
        ValueError: if dt is not in (0, 2), or the duration is not positive or shorter than one step.
    """
    if not (np.isfinite(dt) and 0 < dt < 2):
        raise ValueError(f"dt must be above 0 and below 2 (else Euler's leak 1 - dt makes every state grow), got {dt}.")
    if not (np.isfinite(duration) and duration > 0 and round(duration / dt) >= 1):
        raise ValueError(f"duration must be positive and at least one step dt={dt}, got {duration}.")
    return round(duration / dt)
