"""Geometric sums: the loss of a linear network that answers an impulse, without stepping through time."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from overlap_learning.model.entries import entries, total, widened
from overlap_learning.model.layout import Layout
from overlap_learning.tasks.impulse import FASTEST, ContinuousTrials, ImpulseTrials
from overlap_learning.tasks.task import GivenTrials, Task, Trials

#: The sums are written out entry by entry if c has at most so many; they are many matrices, and each entry compiles.
MOST_ENTRIES = 4

#: In continuous time: the longest first interval, in neuronal time constants, and the terms of its power series. At the
#: rate FASTEST, the terms of the integrals fall as x^n / (n + 1)! with x = 2 / 8. What is cut off, 2e-14 of what
#: happens within one interval, which is 1 / 200 of the integrals, is below rounding.
FIRST_INTERVAL, ORDER = 2.0**-10, 10


class Term(eqx.Module):
    """What is known beforehand of one term of the power series of the first interval, of length h.

    Attributes:
        turn: `(h Lambda)^n / n!`, shape [q, q], where the known signals obey `dr/dt = Lambda r`.
        sum: the term of order n - 1 in `1/h` times the integral of `r r^T`, summed over trials, shape [q, q].
    """

    turn: jax.Array
    sum: jax.Array


class Doubling(eqx.Module):
    """What is known beforehand of the step from n readings to 2n, or to 2n + 1.

    Attributes:
        turn: `Q^n`, shape [q, q], where the known signals obey `r[k + 1] = Q r[k]`.
        sum: `sum_{k < n} r[k] r[k]^T`, summed over trials, shape [q, q].
        last: `Q^2n` if there is one reading more; None if not.
    """

    turn: jax.Array
    sum: jax.Array
    last: jax.Array | None


class SummedTrials(eqx.Module):
    """Impulse trials, and the sums of their known signals.

    In continuous time the first interval takes the place of the first reading.

    Attributes:
        stepped: the inputs, targets and weights, where there are steps.
        interval: dt, or the length of the first interval, shape []; the weight of each squared error.
        series: the terms of the power series of the first interval from order 2 on; none for one step of Euler, which
            is order 1.
        start: `r[0] r[0]^T`, summed over trials, shape [q, q].
        doublings: from one reading to all.
        sum: over all readings.
        oscillates: whether each term of the target has a partner.
    """

    stepped: Trials
    interval: jax.Array
    series: list[Term]
    start: jax.Array
    doublings: list[Doubling]
    sum: jax.Array
    oscillates: bool = eqx.field(static=True)

    @property
    def inputs(self) -> jax.Array:
        return self.stepped.inputs

    @property
    def targets(self) -> jax.Array:
        return self.stepped.targets

    @property
    def weights(self) -> jax.Array:
        return self.stepped.weights

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return self.stepped.sizes

    @property
    def terms(self) -> np.ndarray:
        """Which known signals make up the target of each output, 1 or 0, shape [n_out, q]."""
        _, _, n_in, n_out = self.sizes
        n_signals = len(self.start) - n_in
        n_partners = 2 if self.oscillates else 1
        of_output = np.tile(np.repeat(np.eye(n_out), n_partners, axis=1), n_signals // (n_out * n_partners))
        return np.pad(of_output * (np.arange(n_signals) % n_partners == 0), ((0, 0), (n_in, 0)))

    @property
    def turns(self) -> np.ndarray:
        """The entries of Q that are not 0 by structure, booleans [q, q]."""
        n_in, size = self.sizes[2], len(self.start)
        signal = np.arange(size)
        pair = np.where(signal < n_in, -1 - signal, (signal - n_in) // 2 if self.oscillates else signal)
        return pair[:, None] == pair


def summed(task: Task) -> Task:
    """A task with all that can be calculated before learning: to be called outside the loop over learning steps."""
    return _summed(task) if isinstance(task.trials, ImpulseTrials | ContinuousTrials) else task


@eqx.filter_jit
def _summed(task: Task) -> Task:
    trials: Any = task.trials
    response = trials.response
    first = response.first_signals()
    start = jnp.einsum("bq,br->qr", first, first)
    series: list[Term] = []
    if isinstance(trials, ContinuousTrials):
        n_doublings = max(0, math.ceil(math.log2(trials.duration / FIRST_INTERVAL)))
        n_readings, stepped = 2**n_doublings, trials
        interval = jnp.asarray(trials.duration / n_readings, start.dtype)
        series, found = _series(interval * response.generator(), start)

        def turn(n: int) -> jax.Array:
            time = float(n) * interval
            return response.turn(jnp.exp(-time), time)
    else:
        n_readings, interval, found = trials.n_readings, trials.dt, start
        stepped = GivenTrials(trials.inputs, trials.targets, trials.weights)

        def turn(n: int) -> jax.Array:
            return response.turn((1 - interval) ** n, n * trials.spacing)

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
    ready = SummedTrials(stepped, interval, series, start, doublings, found, oscillates)
    return eqx.tree_at(lambda t: t.trials, task, ready)


def _series(generator: jax.Array, start: jax.Array) -> tuple[list[Term], jax.Array]:
    """The terms of order 2 and more of the first interval, and `1/h` times its integral of `r r^T`."""
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

    where `X = sum c c^T`, `Y = sum c r^T`, `R = sum r r^T`. The loss, `sum |C r + s_zu c|^2`, is a
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
    n_in, n_fields, rank = layout.n_in, layout.n_fields, layout.rank
    readers = gram[n_fields:, :n_fields]
    n_signals = len(trials.start)
    written_out = 0 < rank * n_signals <= MOST_ENTRIES

    def own(matrix: Any, where: np.ndarray | None = None) -> Any:
        return entries(matrix, written_out, where)

    one = own(jnp.eye(rank, dtype=gram.dtype), np.eye(rank) > 0)
    currents = trials.interval * (readers[:rank] - jnp.eye(rank, n_fields, n_in, dtype=gram.dtype))
    visible = own(jnp.concatenate([currents, readers[rank:]]))
    one_change, one_drive = visible[:rank, n_in:], widened(visible[:rank, :n_in], n_signals)
    nothing = np.zeros((rank, n_signals), bool)
    X, Y = own(0.0, nothing[:, :1] & nothing[:, :1].T), own(0.0, nothing)
    change, drive, start = one_change, one_drive, own(trials.start)

    if trials.series:
        change, drive, X, Y = _first_interval(own, trials, one_change, one_drive, X, Y)
    one_step = power = one + change
    for doubling in trials.doublings:
        turn = own(doubling.turn, trials.turns)
        shifted = power @ Y
        H = shifted + drive @ own(doubling.sum)
        X = X + power @ X @ power.T + shifted @ drive.T + drive @ H.T
        Y = Y + H @ turn.T
        drive = power @ drive + drive @ turn
        if trials.series:
            # A - 1, because A, near 1, would round off most of what a short interval adds to it.
            change = change + change + change @ change
            power = one + change
        else:
            power = power @ power
        if doubling.last is not None:
            last = own(doubling.last, trials.turns)
            first = drive @ start
            X = X + first @ drive.T
            Y = Y + first @ last.T
            drive = one_step @ drive + one_drive @ last
            power = power @ one_step

    answered = trials.terms
    known = widened(visible[rank:, :n_in], n_signals) + own(-answered, answered > 0)
    state = visible[rank:, n_in:]
    cross = known @ Y.T @ state.T
    loss = trials.interval * total(known @ own(trials.sum) @ known.T + (cross + cross) + state @ X @ state.T)
    if trials.series:
        # A factor, and not a choice, so that the derivative is NaN too.
        fastest = jnp.max(jnp.sum(jnp.abs(currents[:, n_in:]), axis=1), initial=0.0)
        loss = loss * jnp.where(fastest <= FASTEST * trials.interval, 1.0, jnp.nan)
    return loss


def _first_interval(own: Any, trials: SummedTrials, K: Any, B: Any, X: Any, Y: Any) -> tuple[Any, Any, Any, Any]:
    """A - 1, D, X and Y of the first interval, of which h is the length: power series in `K = h (s_vu - 1)`.

    Args:
        own: writes a matrix out.
        trials: what is known beforehand.
        K: as above, shape [R, R].
        B: h s_vm on the inputs, shape [R, q].
        X: 0, shape [R, R].
        Y: 0, shape [R, q].
    """
    generator = own(trials.series[0].turn, trials.turns)
    change, drive = K, B
    of_change, of_drive, of_X, of_Y = K, B, X, Y
    for order, term in enumerate(trials.series, start=2):
        half = K @ of_X + B @ of_Y.T
        of_X = (half + half.T) * (1 / order)
        of_Y = (K @ of_Y + B @ own(term.sum) + of_Y @ generator.T) * (1 / order)
        of_drive = (K @ of_drive + B @ own(term.turn, trials.turns)) * (1 / order)
        of_change = K @ of_change * (1 / order)
        X, Y, change, drive = X + of_X, Y + of_Y, change + of_change, drive + of_drive
    return change, drive, X, Y


def silent_loss(task: Task) -> jax.Array:
    """The loss of a network whose outputs are 0, shape []."""
    trials = task.trials
    if isinstance(trials, SummedTrials):
        return trials.interval * jnp.einsum("oq,qr,or->", trials.terms, trials.sum, trials.terms)
    return jnp.sum(task.weights * jnp.square(task.targets))


def not_negative(loss: jax.Array) -> jax.Array:
    """The loss, or 0 where rounding has left less than 0."""
    # Its derivatives are those of the loss also there.
    return loss + lax.stop_gradient(jnp.maximum(-loss, 0.0))
