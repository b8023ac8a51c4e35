"""Time: from durations in neuronal time constants to steps."""

from overlap_learning.checks import scalar

#: Of one trial: far beyond any memory, and before sizes overflow inside XLA, which ends the program.
MOST_STEPS = 10**8


def steps(duration: float, dt: float, caller: str = "Task") -> int:
    """The number of Euler steps of a duration.

    Raises:
        ValueError: if dt is not in (0, 2), or the duration is not positive, shorter than one step or beyond any memory.
    """
    scalar(dt, f"{caller}: dt", "above 0 and below 2 (else Euler's leak 1 - dt makes every state grow)", 0, 2 - 1e-9)
    scalar(duration, f"{caller}: duration", f"positive and at least one step dt={dt}", dt / 2)
    if duration / dt > MOST_STEPS:
        raise ValueError(f"{caller}: duration must be at most {MOST_STEPS:,} steps dt={dt}, got {duration}.")
    # A number of Python, also of a duration or a step in jax: programs are made for it.
    return round(float(duration / dt))
