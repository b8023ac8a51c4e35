"""Sums: what is known of an impulse task before a network is, added up once when the task is made."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import namespace
from overlap_learning.tasks.response import Response

#: In continuous time: the longest first interval, in neuronal time constants, and the terms of its power series. At the
#: rate FASTEST the terms of the integrals fall as x^n / (n + 1)! with x = 2 / 16; what is cut off, 2e-17 of each
#: interval, is below rounding.
FIRST_INTERVAL, ORDER = 2.0**-11, 10


class Term(eqx.Module):
    """One term of the power series of the first interval, of length h.

    Attributes:
        turn: `(h Lambda)^n / n!`, shape [q, q], where the known signals obey `dr/dt = Lambda r`.
        sum: the term of order n in the integral of `r r^T`, summed over trials, shape [q, q].
    """

    turn: jax.Array
    sum: jax.Array


class Doubling(eqx.Module):
    """The step from n readings to 2n, or to 2n + 1.

    Attributes:
        turn: `Q^n`, shape [q, q], where the known signals obey `r[k + 1] = Q r[k]`.
        sum: `dt sum_{k < n} r[k] r[k]^T`, summed over trials, shape [q, q].
        last: `Q^2n` if there is one reading more; None if not.
    """

    turn: jax.Array
    sum: jax.Array
    last: jax.Array | None


class Sums(eqx.Module):
    """Sums of the known signals of an impulse task: the input as it leaks away, and the terms of the target.

    In continuous time the first interval takes the place of the first reading.

    Attributes:
        interval: dt, or the length of the first interval, shape [].
        series: the terms of the power series of the first interval from order 2 on; none for one step of Euler, which
            is order 1.
        start: `dt r[0] r[0]^T`, summed over trials, shape [q, q].
        doublings: from one reading to all.
        sum: over all readings.
        n_in: input signals, which come first.
        n_out: outputs.
        oscillates: whether each term of the target has a partner.
    """

    interval: jax.Array
    series: list[Term]
    start: jax.Array
    doublings: list[Doubling]
    sum: jax.Array
    n_in: int = eqx.field(static=True)
    n_out: int = eqx.field(static=True)
    oscillates: bool = eqx.field(static=True)

    @property
    def is_continuous(self) -> bool:
        """Whether time is continuous."""
        return bool(self.series)

    @property
    def terms(self) -> np.ndarray:
        """Which known signals make up the target of each output, 1 or 0, shape [n_out, q]."""
        n_signals = self.start.shape[-1] - self.n_in
        n_partners = 2 if self.oscillates else 1
        of_output = np.tile(np.repeat(np.eye(self.n_out), n_partners, axis=1), n_signals // (self.n_out * n_partners))
        return np.pad(of_output * (np.arange(n_signals) % n_partners == 0), ((0, 0), (self.n_in, 0)))

    @property
    def generator(self) -> jax.Array:
        """`h Lambda` of the first interval, shape [q, q]."""
        return self.series[0].turn

    @property
    def blocks(self) -> np.ndarray:
        """Which entries of a `turn` can differ from 0: each known signal, or each pair, acts on itself, [q, q]."""
        signal = np.arange(self.start.shape[-1])
        pair = np.where(signal < self.n_in, -1 - signal, (signal - self.n_in) // 2 if self.oscillates else signal)
        return pair[:, None] == pair

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
    start = _start(response, interval)

    def turn(n: int) -> jax.Array:
        return response.turn((1 - interval) ** n, n * spacing)

    return _doubled(response, interval, n_readings, start, ([], start), turn)


def sums_in_continuous_time(response: Response, duration: float) -> Sums:
    """The integrals of a task in continuous time.

    Args:
        response: the impulse and its answer.
        duration: of the answer, in neuronal time constants.
    """
    n_intervals = 2 ** max(0, math.ceil(math.log2(duration / FIRST_INTERVAL)))
    interval = np.asarray(duration / n_intervals, response.areas.dtype)
    xp = namespace(response)

    def turn(n: int) -> jax.Array:
        time = float(n) * interval
        return response.turn(xp.exp(-time), time)

    start = _start(response, interval)
    series = _series(interval * response.generator(), start)
    return _doubled(response, interval, n_intervals, start, series, turn)


def _doubled(
    response: Response,
    interval: Any,
    n_readings: int,
    start: jax.Array,
    first: tuple[list[Term], jax.Array],
    turn: Callable[[int], jax.Array],
) -> Sums:
    """The sums over all readings, from those over the first one."""
    series, found = first
    _, n_in, n_out = response.sizes
    doublings, n = [], 1
    # The binary digits of the number of readings after the leading one say how to come to it from 1.
    for digit in bin(n_readings)[3:]:
        turned = turn(n)
        last = turn(2 * n) if digit == "1" else None
        doublings.append(Doubling(turned, found, last))
        found = found + turned @ found @ turned.T
        n *= 2
        if last is not None:
            found = found + last @ start @ last.T
            n += 1
    oscillates = response.frequencies is not None
    return Sums(interval, series, start, doublings, found, n_in, n_out, oscillates)


def _start(response: Response, interval: Any) -> jax.Array:
    """`interval r(0) r(0)^T`, summed over trials."""
    first = response.first_signals()
    return interval * (first.T @ first)


def _series(generator: jax.Array, start: jax.Array) -> tuple[list[Term], jax.Array]:
    """The terms of order 2 and more of the first interval, and its integral of `r r^T`."""
    series, turn, term, found = [], generator, start, start
    for order in range(2, ORDER + 1):
        series.append(Term(turn, term))
        half = generator @ term
        term = (half + half.T) / order
        found = found + term
        turn = generator @ turn / order
    return series, found
