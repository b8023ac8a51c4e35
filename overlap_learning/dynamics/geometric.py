"""Geometric sums: the loss of a linear network that answers an impulse, without stepping through time."""

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from overlap_learning.model.entrywise import number_by_number
from overlap_learning.model.layout import Layout
from overlap_learning.tasks.impulse import FASTEST, ContinuousTrials, ImpulseTrials
from overlap_learning.tasks.task import Task

#: In continuous time: the longest first interval, in neuronal time constants, and the terms of its power series. At the
#: rate FASTEST the terms of the integrals fall as x^n / (n + 1)! with x = 2 / 16; what is cut off, 2e-17 of each
#: interval, is below rounding.
FIRST_INTERVAL, ORDER = 2.0**-11, 10


class Term(eqx.Module):
    """What is known beforehand of one term of the power series of the first interval, of length h.

    Attributes:
        turn: `(h Lambda)^n / n!`, shape [q, q], where the known signals obey `dr/dt = Lambda r`.
        sum: the term of order n in the integral of `r r^T`, summed over trials, shape [q, q].
    """

    turn: jax.Array
    sum: jax.Array


class Doubling(eqx.Module):
    """What is known beforehand of the step from n readings to 2n, or to 2n + 1.

    Attributes:
        turn: `Q^n`, shape [q, q], where the known signals obey `r[k + 1] = Q r[k]`.
        sum: `dt sum_{k < n} r[k] r[k]^T`, summed over trials, shape [q, q].
        last: `Q^2n` if there is one reading more; None if not.
    """

    turn: jax.Array
    sum: jax.Array
    last: jax.Array | None


class SummedTrials(eqx.Module):
    """Impulse trials, and the sums of their known signals.

    In continuous time the first interval takes the place of the first reading.

    Attributes:
        trials: themselves, which have inputs, targets and weights where there are steps.
        interval: dt, or the length of the first interval, shape [].
        series: the terms of the power series of the first interval from order 2 on; none for one step of Euler, which
            is order 1.
        start: `dt r[0] r[0]^T`, summed over trials, shape [q, q].
        doublings: from one reading to all.
        sum: over all readings.
        oscillates: whether each term of the target has a partner.
    """

    trials: ImpulseTrials | ContinuousTrials
    interval: jax.Array
    series: list[Term]
    start: jax.Array
    doublings: list[Doubling]
    sum: jax.Array
    oscillates: bool = eqx.field(static=True)

    @property
    def inputs(self) -> jax.Array:
        return self.trials.inputs

    @property
    def targets(self) -> jax.Array:
        return self.trials.targets

    @property
    def weights(self) -> jax.Array:
        return self.trials.weights

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return self.trials.sizes

    @property
    def is_continuous(self) -> bool:
        return bool(self.series)

    @property
    def terms(self) -> np.ndarray:
        """Which known signals make up the target of each output, 1 or 0, shape [n_out, q]."""
        _, _, n_in, n_out = self.sizes
        n_signals = len(self.start) - n_in
        n_partners = 2 if self.oscillates else 1
        of_output = np.tile(np.repeat(np.eye(n_out), n_partners, axis=1), n_signals // (n_out * n_partners))
        return np.pad(of_output * (np.arange(n_signals) % n_partners == 0), ((0, 0), (n_in, 0)))

    @property
    def generator(self) -> jax.Array:
        """`h Lambda` of the first interval, shape [q, q]."""
        return self.by_structure(self.series[0].turn)

    def by_structure(self, turn: jax.Array) -> jax.Array:
        """A matrix that acts on each known signal, or on each pair, by itself, [q, q]: elsewhere 0 by structure."""
        n_in, size = self.sizes[2], len(self.start)
        signal = np.arange(size)
        pair = np.where(signal < n_in, -1 - signal, (signal - n_in) // 2 if self.oscillates else signal)
        return jnp.where(pair[:, None] == pair, turn, 0.0)


def summed(task: Task) -> Task:
    """A task with all that can be calculated before learning: to be called outside the loop over learning steps."""
    return _summed(task) if isinstance(task.trials, ImpulseTrials | ContinuousTrials) else task


@eqx.filter_jit
def _summed(task: Task) -> Task:
    trials: Any = task.trials
    response = trials.response
    is_continuous = isinstance(trials, ContinuousTrials)
    if is_continuous:
        n_readings = 2 ** max(0, math.ceil(math.log2(trials.duration / FIRST_INTERVAL)))
        interval = jnp.asarray(trials.duration / n_readings, response.areas.dtype)
    else:
        n_readings, interval = trials.n_readings, trials.dt

    def turn(n: int) -> jax.Array:
        if is_continuous:
            time = float(n) * interval
            return response.turn(jnp.exp(-time), time)
        return response.turn((1 - interval) ** n, n * trials.spacing)

    first = response.first_signals()
    start = interval * jnp.einsum("bq,br->qr", first, first)
    series, found = _series(interval * response.generator(), start) if is_continuous else ([], start)
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
    ready = SummedTrials(trials, interval, series, start, doublings, found, oscillates)
    return eqx.tree_at(lambda t: t.trials, task, ready)


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


@eqx.filter_jit
def response_loss(layout: Layout, gram: jax.Array, trials: SummedTrials) -> jax.Array:
    """The loss of a linear network after an impulse, as a function of the Gram matrix [d, d].

    The state of the recurrent vectors obeys `c[k + 1] = A c[k] + D r[k]` with `A = 1 - dt + dt s_vu` and D = dt s_vm on
    the inputs. After n steps it is `c[n + k] = A^n c[k] + D_n r[k]`, so that sums over 2n readings follow from those
    over n::

        X_2n = X_n + A^n X_n A^n^T + A^n Y_n D_n^T + D_n H^T,    H = A^n Y_n + D_n R_n
        Y_2n = Y_n + H Q^n^T,    D_2n = A^n D_n + D_n Q^n

    where `X = dt sum c c^T`, `Y = dt sum c r^T`, `R = dt sum r r^T`. The loss, `dt sum |C r + s_zu c|^2`, is a
    quadratic form of them. No eigenvalue is divided by another, so equal ones do no harm. As the form is a difference
    of terms of the size of the target, it is exact to rounding of these, such as the target's own `sum (y*)^2 dt`, not
    of the loss.

    In continuous time, `dc/dt = K c + s_vm r` with `K = s_vu - 1`, the same holds with integrals in place of sums and n
    first intervals in place of n readings. In the first interval, A, D, X and Y are power series in its length, such as
    `X_h = sum_n h^(n + 1) / (n + 1)! X^(n)` with `X^(n + 1) = K X^(n) + s_vm Y^(n)^T + transpose`.

    Args:
        layout: of the network.
        gram: G.
        trials: what is known beforehand.

    Source: theory page, section 2, eq. (3), summed.
    """
    return number_by_number(functools.partial(_response_loss, layout))(gram, trials)


def _response_loss(layout: Layout, gram: jax.Array, trials: SummedTrials) -> jax.Array:
    n_in, n_fields, rank = layout.n_in, layout.n_fields, layout.rank
    n_signals = len(trials.start)
    one = jnp.eye(rank, dtype=gram.dtype)
    readers, beyond = gram[n_fields:, :n_fields], ((0, 0), (0, n_signals - n_in))
    one_change = trials.interval * (readers[:rank, n_in:] - one)
    one_drive = jnp.pad(trials.interval * readers[:rank, :n_in], beyond)
    change, drive = one_change, one_drive
    X, Y = jnp.zeros_like(one_change), jnp.zeros_like(one_drive)
    if trials.is_continuous:
        change, drive, X, Y = _first_interval(trials, one_change, one_drive)
    one_step = power = one + change
    for doubling in trials.doublings:
        turn = trials.by_structure(doubling.turn)
        shifted = power @ Y
        H = shifted + drive @ doubling.sum
        X = X + power @ X @ power.T + shifted @ drive.T + drive @ H.T
        Y = Y + H @ turn.T
        drive = power @ drive + drive @ turn
        if trials.is_continuous:
            # A - 1, because A, near 1, would round off most of what a short interval adds to it.
            change = change + change + change @ change
            power = one + change
        else:
            power = power @ power
        if doubling.last is not None:
            last = trials.by_structure(doubling.last)
            first = drive @ trials.start
            X = X + first @ drive.T
            Y = Y + first @ last.T
            drive = one_step @ drive + one_drive @ last
            power = power @ one_step

    known = jnp.pad(readers[rank:, :n_in], beyond) - trials.terms
    state = readers[rank:, n_in:]
    cross = known @ Y.T @ state.T
    loss = jnp.trace(known @ trials.sum @ known.T + (cross + cross) + state @ X @ state.T)
    if trials.is_continuous:
        rates = [jnp.sum(jnp.abs(matrix), axis=1) for matrix in (one_change, trials.generator)]
        slow = jnp.all(jnp.concatenate(rates) <= FASTEST * trials.interval)
        # A factor, and not a choice, so that the derivative is NaN too.
        loss = loss * jnp.where(slow, 1.0, jnp.nan)
    return loss


def _first_interval(trials: SummedTrials, K: jax.Array, B: jax.Array) -> tuple[jax.Array, ...]:
    """A - 1, D, X and Y of the first interval, of which h is the length: power series in `K = h (s_vu - 1)`.

    Args:
        trials: what is known beforehand.
        K: as above, shape [R, R].
        B: h s_vm on the inputs, shape [R, q].
    """
    generator = trials.generator
    change, drive, X, Y = of_change, of_drive, of_X, of_Y = K, B, jnp.zeros_like(K), jnp.zeros_like(B)
    for order, term in enumerate(trials.series, start=2):
        half = K @ of_X + B @ of_Y.T
        of_X = (half + half.T) / order
        of_Y = (K @ of_Y + B @ term.sum + of_Y @ generator.T) / order
        of_drive = (K @ of_drive + B @ trials.by_structure(term.turn)) / order
        of_change = K @ of_change / order
        X, Y, change, drive = X + of_X, Y + of_Y, change + of_change, drive + of_drive
    return change, drive, X, Y


def silent_loss(task: Task) -> jax.Array:
    """The loss of a network whose outputs are 0, shape []."""
    trials = task.trials
    if isinstance(trials, SummedTrials):
        return jnp.einsum("oq,qr,or->", trials.terms, trials.sum, trials.terms)
    return task.loss(jnp.zeros_like(task.targets))


def not_negative(loss: jax.Array) -> jax.Array:
    """The loss, or 0 where rounding has left less than 0."""
    # Its derivatives are those of the loss also there.
    return loss + lax.stop_gradient(jnp.maximum(-loss, 0.0))
