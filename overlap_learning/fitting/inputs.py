"""Inputs: what drives a network from outside."""

import equinox as eqx
import jax
import numpy as np

from overlap_learning.checks import count, scalar


class Inputs(eqx.Module):
    """Input currents as free time courses, which all trials of a condition share: they explain no change over trials.

    Each is a value at every recorded time, with straight lines between, in each direction of the span of the columns a
    and in further ones that are fitted. The state at the first time is fitted too, one for each condition, in the same
    span. Each value costs `(u / scale)^2 / 2` in the negative log likelihood: what recurrent weights can explain,
    inputs do not.

    Args:
        until: inputs act before this time only, so that from then on the network runs by itself; None: throughout.
            With `until=-np.inf` there are none, and conditions differ by their first states.
        scale: the size of an input, relative to a state of 1, from which on it is costly.
        n_columns: directions beyond the span of a.

    Raises:
        ValueError: if an argument is out of range.

    Source: Pellegrino et al. 2023 drive their network by one neural differential equation for each condition.

    Examples:
        >>> ol.fitting.Inputs(until=0.0).acting(np.array([-0.1, 0.0, 0.1]))
        array([ True, False, False])
    """

    until: float | None = eqx.field(static=True)
    scale: jax.Array
    n_columns: int = eqx.field(static=True)

    def __init__(self, until: float | None = None, *, scale: float = 1.0, n_columns: int = 0):
        if until is not None and (not isinstance(until, (int, float, np.number)) or np.isnan(until)):
            raise ValueError(f"Inputs: until must be a time, or None for all times, got {until!r}.")
        self.until = None if until is None else float(until)
        self.scale = scalar(scale, "Inputs: scale", "positive", 0)
        self.n_columns = count(n_columns, "Inputs: n_columns", least=0)

    def acting(self, times: np.ndarray) -> np.ndarray:
        """Whether inputs act, at each time, shape [T]."""
        return np.ones(len(times), bool) if self.until is None else times < self.until


def check_inputs(inputs: object, caller: str) -> None:
    """Refuse what is no `Inputs`.

    Raises:
        ValueError: naming the caller.
    """
    if not isinstance(inputs, Inputs):
        raise ValueError(f"{caller}: inputs must be ol.fitting.Inputs(...), got {inputs!r}.")
