"""The loss of a linear network that answers an impulse, summed without stepping through time."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from overlap_learning.model.layout import Layout
from overlap_learning.scalars.entrywise import number_by_number
from overlap_learning.tasks.impulse import FASTEST
from overlap_learning.tasks.sums import Sums


def impulse_loss(layout: Layout, gram: jax.Array, sums: Sums) -> jax.Array:
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
        sums: those of the task.

    Source: theory page, section 2, eq. (3), summed.
    """
    return number_by_number(functools.partial(_impulse_loss, layout))(gram, sums)


def _impulse_loss(layout: Layout, gram: jax.Array, sums: Sums) -> jax.Array:
    n_in, n_fields, rank = layout.n_in, layout.n_fields, layout.rank
    n_signals = len(sums.start)
    one = jnp.eye(rank, dtype=gram.dtype)
    readers, beyond = gram[n_fields:, :n_fields], ((0, 0), (0, n_signals - n_in))
    one_change = sums.interval * (readers[:rank, n_in:] - one)
    one_drive = jnp.pad(sums.interval * readers[:rank, :n_in], beyond)
    change, drive = one_change, one_drive
    X, Y = jnp.zeros_like(one_change), jnp.zeros_like(one_drive)
    if sums.is_continuous:
        change, drive, X, Y = _first_interval(sums, one_change, one_drive)
    one_step = power = one + change
    for doubling in sums.doublings:
        turn = _blocks(sums, doubling.turn)
        shifted = power @ Y
        H = shifted + drive @ doubling.sum
        X = X + power @ X @ power.T + shifted @ drive.T + drive @ H.T
        Y = Y + H @ turn.T
        drive = power @ drive + drive @ turn
        if sums.is_continuous:
            # A - 1, because A, near 1, would round off most of what a short interval adds to it.
            change = change + change + change @ change
            power = one + change
        else:
            power = power @ power
        if doubling.last is not None:
            last = _blocks(sums, doubling.last)
            first = drive @ sums.start
            X = X + first @ drive.T
            Y = Y + first @ last.T
            drive = one_step @ drive + one_drive @ last
            power = power @ one_step

    known = jnp.pad(readers[rank:, :n_in], beyond) - sums.terms
    state = readers[rank:, n_in:]
    cross = known @ Y.T @ state.T
    loss = jnp.trace(known @ sums.sum @ known.T + (cross + cross) + state @ X @ state.T)
    if sums.is_continuous:
        rates = [jnp.sum(jnp.abs(matrix), axis=1) for matrix in (one_change, _blocks(sums, sums.generator))]
        slow = jnp.all(jnp.concatenate(rates) <= FASTEST * sums.interval)
        # A factor, and not a choice, so that the derivative is NaN too.
        loss = loss * jnp.where(slow, 1.0, jnp.nan)
    return loss


def _first_interval(sums: Sums, K: jax.Array, B: jax.Array) -> tuple[jax.Array, ...]:
    """A - 1, D, X and Y of the first interval, of which h is the length: power series in `K = h (s_vu - 1)`.

    Args:
        sums: those of the task.
        K: as above, shape [R, R].
        B: h s_vm on the inputs, shape [R, q].
    """
    generator = _blocks(sums, sums.generator)
    change, drive, X, Y = of_change, of_drive, of_X, of_Y = K, B, jnp.zeros_like(K), jnp.zeros_like(B)
    for order, term in enumerate(sums.series, start=2):
        half = K @ of_X + B @ of_Y.T
        of_X = (half + half.T) / order
        of_Y = (K @ of_Y + B @ term.sum + of_Y @ generator.T) / order
        of_drive = (K @ of_drive + B @ _blocks(sums, term.turn)) / order
        of_change = K @ of_change / order
        X, Y, change, drive = X + of_X, Y + of_Y, change + of_change, drive + of_drive
    return change, drive, X, Y


def _blocks(sums: Sums, turn: jax.Array) -> jax.Array:
    """A matrix that acts on each known signal, or on each pair, by itself: elsewhere 0 by structure."""
    return jnp.where(sums.blocks, turn, 0.0)


def not_negative(loss: jax.Array) -> jax.Array:
    """The loss, or 0 where rounding has left less than 0."""
    # Its derivatives are those of the loss also there.
    return loss + lax.stop_gradient(jnp.maximum(-loss, 0.0))
