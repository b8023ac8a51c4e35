"""The loss of a linear network that answers an impulse, summed without stepping through time."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from overlap_learning.model.layout import Layout
from overlap_learning.model.products import add, cells, times, times_transposed, transposed_times
from overlap_learning.tasks.impulse import FASTEST
from overlap_learning.tasks.sums import Sums, power_series

#: Up to so many products of numbers, all is one kernel, which takes a processor a fraction of a microsecond. The time
#: to compile it grows faster than its size: one second here.
MOST_IN_ONE_KERNEL = 400


class Readings(NamedTuple):
    """What is known after n readings of all signals, `w = [inputs, states, terms of the target]`, p in number.

    Attributes:
        turn: F, where `w[k + n] = F w[k]`, shape [p, p].
        sum: `P = dt sum w w^T`, shape [p, p].
    """

    turn: Any
    sum: Any


def impulse_loss(layout: Layout, gram: jax.Array, sums: Sums) -> jax.Array:
    """The loss of a linear network after an impulse, as a function of the Gram matrix [d, d].

    The state of the recurrent vectors obeys `c[k + 1] = c[k] + dt (-c + s_vu c + s_vm r)[k]`, so that all signals w
    obey `w[k + 1] = F_1 w[k]`, and what is known after n + k readings follows from what is after n and after k, where k
    is n or 1::

        P_(n + k) = P_n + F_n P_k F_n^T,    F_(n + k) = F_n F_k

    The loss, `dt sum |s_zm r + s_zu c - target|^2 = tr(C P C^T)`, is a quadratic form of them. No eigenvalue is divided
    by another, so equal ones do no harm. As the form is a difference of terms of the size of the target, it is exact to
    rounding of these, such as the target's own `sum (y*)^2 dt`, not of the loss.

    In continuous time, `dw/dt = Lambda w`, the same holds with integrals in place of sums and n first intervals in
    place of n readings; of the first one, F and P are power series in its length.

    Args:
        layout: of the network.
        gram: G.
        sums: those of the task.

    Source: theory page, section 2, eq. (3), summed.
    """
    readers = gram[layout.n_fields :, : layout.n_fields]
    begin, C = _parts(layout, sums, _first(layout, readers, sums), readers)
    last, _ = _forward(begin, sums)
    loss = times(times(C, last.sum).reshape(1, -1), C.reshape(-1, 1))
    return _if_slow(jnp.asarray(loss[0, 0]), layout, readers, sums)


def impulse_loss_gradient(layout: Layout, gram: jax.Array, sums: Sums) -> tuple[jax.Array, jax.Array]:
    """`impulse_loss`, and its gradient by the block of G that it depends on, shape [R + n_out, n_in + R].

    The gradient is the adjoint of the recursion, written out. With V and W the derivatives by P and F, and
    `L = V F_n`::

        W_n = 2 L P_k + W F_k^T,    W_k = F_n^T W,    V_n = V,    V_k = F_n^T L

    where those of k count among those of n if k is n.
    """
    readers = gram[layout.n_fields :, : layout.n_fields]

    def found(readers: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _loss_and_slope(layout, readers, sums)

    def nothing(readers: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.full((), jnp.nan, readers.dtype), jnp.full_like(readers, jnp.nan)

    if _is_one_kernel(layout, sums):
        return found(readers)
    # A branch of its own: its many small kernels XLA runs one after another, beside larger arrays as a graph.
    return lax.cond(jnp.all(jnp.isfinite(readers)), found, nothing, readers)


def _loss_and_slope(layout: Layout, readers: jax.Array, sums: Sums) -> tuple[jax.Array, jax.Array]:
    first, pull = jax.vjp(lambda readers: _first(layout, readers, sums), readers)
    begin, C = _parts(layout, sums, first, readers)
    last, passed = _forward(begin, sums)
    read = times(C, last.sum)
    loss = times(read.reshape(1, -1), C.reshape(-1, 1))
    to_first = _backward(begin, sums, passed, transposed_times(C, C))
    direct = add(read, read)[:, : layout.n_fields]
    if direct.dtype == object:
        loss, direct, *to_first = _joined(loss, direct, *map(_of_network, _there(layout, sums), to_first))
    (slope,) = pull(Readings(*to_first))
    slope = jnp.concatenate([slope[: layout.rank], direct])
    return _if_slow(loss[0, 0], layout, readers, sums), _if_slow(slope, layout, readers, sums)


def _first(layout: Layout, readers: jax.Array, sums: Sums) -> Readings:
    """The first reading; in continuous time the first interval, of which `turn` is `F - 1`."""
    n_in, rank, n_fields = layout.n_in, layout.rank, layout.n_fields
    n_terms = sums.n_signals - n_in
    state = readers[:rank] - jnp.eye(rank, n_fields, n_in, dtype=readers.dtype)
    change = jnp.pad(sums.interval * state, ((n_in, n_terms), (0, n_terms))) + _beside(sums.change, layout)
    start = _beside(sums.start, layout)
    if sums.is_continuous:
        return Readings(*power_series(change, start))
    return Readings(change + jnp.eye(len(change), dtype=change.dtype), start)


def _beside(signals: jax.Array, layout: Layout) -> jax.Array:
    """A matrix of known signals [q, q] as one of all signals [p, p], 0 where the states are."""

    def widened(matrix):
        nothing = jnp.zeros((layout.rank, matrix.shape[1]), matrix.dtype)
        return jnp.concatenate([matrix[: layout.n_in], nothing, matrix[layout.n_in :]])

    return widened(widened(signals).T).T


def _there(layout: Layout, sums: Sums) -> Readings:
    """Which entries of the first reading depend on the network."""
    n_all = sums.n_signals + layout.rank
    of_network = np.zeros((n_all, n_all), bool)
    of_network[layout.n_in : layout.n_fields, : layout.n_fields] = True
    return Readings(of_network, np.full((n_all, n_all), sums.is_continuous))


def _parts(layout: Layout, sums: Sums, first: Readings, readers: jax.Array) -> tuple[Readings, Any]:
    """The first reading, and what the outputs read of all signals, less the target, C; as cells if they are few."""
    n_all, n_in, rank = sums.n_signals + layout.rank, layout.n_in, layout.rank
    terms = np.insert(sums.terms, [n_in] * rank, 0, axis=1)
    C = jnp.pad(readers[rank:], ((0, 0), (0, n_all - layout.n_fields))) - terms
    if not _is_one_kernel(layout, sums):
        return first, C
    known = np.insert(np.insert(sums.blocks, [n_in] * rank, False, axis=0), [n_in] * rank, False, axis=1)
    started = np.insert(np.insert(np.ones_like(sums.blocks), [n_in] * rank, False, 0), [n_in] * rank, False, 1)
    of_network = _there(layout, sums)
    begin = Readings(cells(first.turn, of_network.turn | known), cells(first.sum, of_network.sum | started))
    return begin, cells(C, (terms != 0) | (np.arange(n_all) < layout.n_fields))


def _is_one_kernel(layout: Layout, sums: Sums) -> bool:
    return len(sums.doublings) * (sums.n_signals + layout.rank) ** 3 <= MOST_IN_ONE_KERNEL


def _forward(begin: Readings, sums: Sums) -> tuple[Readings, list[tuple[Any, Readings]]]:
    """What is known after all readings; and on the way there, F_n and what is known of k."""
    passed, change = [], begin.turn
    if sums.is_continuous:
        begin = begin._replace(turn=add(change, _identity(change)))
    now = begin
    for doubles in sums.doublings:
        other = now if doubles else begin
        passed.append((now.turn, other))
        turn = times(now.turn, other.turn)
        if sums.is_continuous:
            # Of F - 1, because F, near 1, would round off most of what a short interval adds to it.
            change = add(change, change, times(change, change))
            turn = add(change, _identity(change))
        now = Readings(turn, add(now.sum, times_transposed(times(now.turn, other.sum), now.turn)))
    return now, passed


def _backward(begin: Readings, sums: Sums, passed: list[Any], V: Any) -> Readings:
    """The slope of the loss by the first reading, from that by the last sum."""
    W = _nothing(begin.turn)
    of_one = Readings(W, W)
    for doubles, (F, other) in zip(sums.doublings[::-1], passed[::-1], strict=True):
        L = times(V, F)
        twice = times(L, other.sum)
        of_other = Readings(transposed_times(F, W), transposed_times(F, L))
        W = add(twice, twice, times_transposed(W, other.turn))
        if doubles:
            W, V = add(W, of_other.turn), add(V, of_other.sum)
        else:
            of_one = Readings(*map(add, of_one, of_other))
    return Readings(add(W, of_one.turn), add(V, of_one.sum))


def _identity(like: Any) -> Any:
    one: Any = np.eye(len(like))
    return cells(one, one != 0) if like.dtype == object else jnp.asarray(one, like.dtype)


def _nothing(like: Any) -> Any:
    return np.zeros(like.shape, object) if like.dtype == object else jnp.zeros_like(like)


def _of_network(there: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Cells without those that do not depend on the network."""
    return np.where(there, found, 0)


def _joined(*parts: np.ndarray) -> list[jax.Array]:
    """Arrays of matrices of cells."""
    numbers = [x for part in parts for x in part.ravel() if not isinstance(x, int)]
    # One vector, kept apart from what comes after: else each of its entries would calculate all of this anew.
    vector = lax.optimization_barrier(jnp.stack(numbers))
    following = iter(range(len(numbers)))
    found = []
    for part in parts:
        entries = [jnp.zeros((), vector.dtype) if isinstance(x, int) else vector[next(following)] for x in part.ravel()]
        found.append(jnp.stack(entries).reshape(part.shape))
    return found


def _if_slow(found: jax.Array, layout: Layout, readers: jax.Array, sums: Sums) -> jax.Array:
    """What was found, or in continuous time NaN if the activity is too fast for it."""
    if not sums.is_continuous:
        return found
    change = sums.interval * (readers[: layout.rank, layout.n_in :] - jnp.eye(layout.rank))
    rates = [jnp.sum(jnp.abs(matrix), axis=1) for matrix in (change, sums.change)]
    slow = jnp.all(jnp.concatenate(rates) <= FASTEST * sums.interval)
    # A factor, and not a choice, so that the derivative is NaN too.
    return found * jnp.where(slow, 1.0, jnp.nan)


def not_negative(loss: jax.Array) -> jax.Array:
    """The loss, or 0 where rounding has left less than 0."""
    # Its derivatives are those of the loss also there.
    return loss + lax.stop_gradient(jnp.maximum(-loss, 0.0))
