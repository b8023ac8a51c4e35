"""Sums: what is known of an impulse task before a network is, made with the task."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import namespace
from overlap_learning.module import Module
from overlap_learning.tasks.response import Response

#: In continuous time: the longest first interval, in neuronal time constants, and the terms of its power series. At the
#: rate FASTEST the terms of the integrals fall as x^n / (n + 1)! with x = 2 / 16; what is cut off, 2e-17 of each
#: interval, is below rounding.
FIRST_INTERVAL, ORDER = 2.0**-11, 10


class Sums(Module):
    """The known signals r of an impulse task, the input as it leaks away and the terms of the target, and their sums.

    From reading to reading they obey `r[k + 1] = Q r[k]`, in continuous time `dr/dt = Lambda r`.

    Attributes:
        interval: dt; in continuous time the length h of a first interval, of which there are a power of two, shape [].
        change: `Q - 1`; in continuous time `h Lambda`, shape [q, q].
        start: `interval r[0] r[0]^T`, summed over trials, shape [q, q].
        sum: the same, summed over all readings, shape [q, q].
        turns: `Q^n` at each of the `doublings`, after which there are n readings, shape [len(doublings), q, q]; None in
            continuous time.
        sums: the same as sum over these n readings, likewise.
        n_readings: how many; in continuous time, how many intervals.
        n_in: input signals, which come first.
        n_out: outputs.
        oscillates: whether each term of the target has a partner.
        is_continuous: whether time is continuous.
    """

    interval: jax.Array
    change: jax.Array
    start: jax.Array
    sum: jax.Array
    turns: jax.Array | None
    sums: jax.Array | None
    n_readings: int = eqx.field(static=True)
    n_in: int = eqx.field(static=True)
    n_out: int = eqx.field(static=True)
    oscillates: bool = eqx.field(static=True)
    is_continuous: bool = eqx.field(static=True)

    @property
    def n_signals(self) -> int:
        """Q."""
        return self.start.shape[-1]

    @property
    def terms(self) -> np.ndarray:
        """Which known signals make up the target of each output, 1 or 0, shape [n_out, q]."""
        n_terms = self.n_signals - self.n_in
        n_partners = 2 if self.oscillates else 1
        of_output = np.tile(np.repeat(np.eye(self.n_out), n_partners, axis=1), n_terms // (self.n_out * n_partners))
        return np.pad(of_output * (np.arange(n_terms) % n_partners == 0), ((0, 0), (self.n_in, 0)))

    @property
    def blocks(self) -> np.ndarray:
        """Which entries of `change` can differ from 0: each known signal, or each pair, acts on itself, [q, q]."""
        signal = np.arange(self.n_signals)
        pair = np.where(signal < self.n_in, -1 - signal, (signal - self.n_in) // 2 if self.oscillates else signal)
        return pair[:, None] == pair

    @property
    def doublings(self) -> list[bool]:
        """How to come from one reading to all: True doubles their number, False adds one."""
        return _doublings(self.n_readings)

    def silent_loss(self) -> jax.Array:
        """The loss of a network whose outputs are 0, shape []."""
        return jnp.einsum("oq,qr,or->", self.terms, self.sum, self.terms)


def sums_of_steps(response: Response, interval: Any, spacing: Any, n_readings: int) -> Sums:
    """The sums of a task of Euler steps.

    Args:
        response: the impulse and its answer.
        interval: dt.
        spacing: of the readings.
        n_readings: after the impulse.
    """
    # Powers of Q are known without multiplying matrices.
    once = turn = response.turn(1 - interval, spacing)
    found = start = _start(response, interval)
    turns, sums, n = [], [], 1
    for doubles in _doublings(n_readings):
        found = found + turn @ (found if doubles else start) @ turn.T
        n += n if doubles else 1
        turn = response.turn((1 - interval) ** n, n * spacing)
        turns, sums = [*turns, turn], [*sums, found]
    xp, nothing = namespace(found), np.zeros((0, *found.shape))
    passed = (xp.stack(turns), xp.stack(sums)) if turns else (nothing, nothing)
    return _sums(response, interval, once - np.eye(len(once), dtype=once.dtype), start, found, passed, n_readings)


def _doublings(n_readings: int) -> list[bool]:
    """See `Sums.doublings`: the binary digits of the number after the leading one."""
    return [step for digit in bin(n_readings)[3:] for step in ([True, False] if digit == "1" else [True])]


def sums_in_continuous_time(response: Response, duration: float) -> Sums:
    """The integrals of a task in continuous time.

    Args:
        response: the impulse and its answer.
        duration: of the answer, in neuronal time constants.
    """
    n_intervals = 2 ** max(0, math.ceil(math.log2(duration / FIRST_INTERVAL)))
    interval = np.asarray(duration / n_intervals, response.areas.dtype)
    start = _start(response, interval)
    generator = interval * response.generator()
    change, found = power_series(generator, start)
    for _ in range(n_intervals.bit_length() - 1):
        moved = found + change @ found
        found = found + moved + moved @ change.T
        change = change + change + change @ change
    return _sums(response, interval, generator, start, found, None, n_intervals)


def power_series(generator: Any, start: Any) -> tuple[Any, Any]:
    """`exp(h Lambda) - 1`, and the integral of `r r^T` over an interval h, from `h Lambda` and `h r(0) r(0)^T`."""
    change = of_change = generator
    found = of_sum = start
    for order in range(2, ORDER + 1):
        half = generator @ of_sum
        of_sum = (half + half.T) / order
        of_change = generator @ of_change / order
        found, change = found + of_sum, change + of_change
    return change, found


def _start(response: Response, interval: Any) -> jax.Array:
    """`interval r(0) r(0)^T`, summed over trials."""
    first = response.first_signals()
    return interval * (first.T @ first)


def _sums(response: Response, interval: Any, change: Any, start: Any, found: Any, passed: Any, n_readings: int) -> Sums:
    _, n_in, n_out = response.sizes
    oscillates = response.frequencies is not None
    turns, sums = (None, None) if passed is None else passed
    return Sums(
        interval, change, start, found, turns, sums, n_readings, n_in, n_out, oscillates, is_continuous=passed is None
    )
