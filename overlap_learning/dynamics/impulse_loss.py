"""The loss of a linear network that answers an impulse, summed without stepping through time."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from overlap_learning.model.layout import Layout
from overlap_learning.model.products import add, cells, times, times_transposed, together, transposed_times
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
    if _is_one_kernel(layout, sums):
        begin, C = _cells(layout, readers, sums)
    else:
        begin, C = _first(layout, readers, sums), _outputs(layout, readers, sums)
    last, _ = _forward(begin, sums)
    return _if_slow(jnp.asarray(_inner(times(C, last.sum), C)), layout, readers, sums)


def impulse_loss_gradient(layout: Layout, gram: jax.Array, sums: Sums) -> tuple[jax.Array, jax.Array]:
    """`impulse_loss`, and its gradient by the block of G that it depends on, shape [R + n_out, n_in + R].

    The gradient is the adjoint of the recursion, written out. With V and W the derivatives by P and F, and
    `L = V F_n`::

        W_n = 2 L P_k + W F_k^T,    W_k = F_n^T W,    V_n = V,    V_k = F_n^T L

    where those of k count among those of n if k is n.
    """
    readers = gram[layout.n_fields :, : layout.n_fields]

    if _is_one_kernel(layout, sums):
        begin, C = _cells(layout, readers, sums)
        loss, direct, to_first = _slopes(begin, C, sums)
        state = to_first.turn[layout.n_in : layout.n_fields, : layout.n_fields]
        state = np.frompyfunc(lambda x: x * sums.interval, 1, 1)(state)
        return _joined(loss, np.concatenate([state, direct[:, : layout.n_fields]]), readers.dtype)

    def found(readers: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, pull = jax.vjp(lambda readers: _first(layout, readers, sums), readers)
        loss, direct, to_first = _slopes(first, _outputs(layout, readers, sums), sums)
        (slope,) = pull(to_first)
        slope = jnp.concatenate([slope[: layout.rank], direct[:, : layout.n_fields]])
        return _if_slow(loss, layout, readers, sums), _if_slow(slope, layout, readers, sums)

    def nothing(readers: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.full((), jnp.nan, readers.dtype), jnp.full_like(readers, jnp.nan)

    # A branch of its own: its many small kernels XLA runs one after another, beside larger arrays as a graph.
    return lax.cond(jnp.all(jnp.isfinite(readers)), found, nothing, readers)


def _slopes(begin: Readings, C: Any, sums: Sums) -> tuple[Any, Any, Readings]:
    """The loss, and its slopes by what the outputs read and by the first reading."""
    last, passed = _forward(begin, sums)
    read = times(C, last.sum)
    return _inner(read, C), add(read, read), _backward(begin, sums, passed, transposed_times(C, C))


def _inner(a: Any, b: Any) -> Any:
    """The sum of the products of entries."""
    return times(a.reshape(1, -1), b.reshape(-1, 1))[0, 0]


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


def _outputs(layout: Layout, readers: jax.Array, sums: Sums) -> jax.Array:
    """What the outputs read of all signals, less the target: C, shape [n_out, p]."""
    terms = np.insert(sums.terms, [layout.n_in] * layout.rank, 0, axis=1)
    return jnp.pad(readers[layout.rank :], ((0, 0), (0, terms.shape[1] - layout.n_fields))) - terms


def _is_one_kernel(layout: Layout, sums: Sums) -> bool:
    n_products = len(sums.doublings) * (sums.n_signals + layout.rank) ** 3
    return n_products <= MOST_IN_ONE_KERNEL and not sums.is_continuous


def _cells(layout: Layout, readers: jax.Array, sums: Sums) -> tuple[Readings, np.ndarray]:
    """`_first` and `_outputs` as cells."""
    n_in, rank, n_fields, n_all = layout.n_in, layout.rank, layout.n_fields, layout.rank + sums.n_signals
    signals = [*range(n_in), *range(n_fields, n_all)]
    turn, start, C = (np.zeros(shape, object) for shape in ((n_all, n_all), (n_all, n_all), (layout.n_out, n_all)))
    turn[np.ix_(signals, signals)] = add(cells(sums.change, sums.blocks), cells(np.eye(len(signals)), sums.blocks))
    start[np.ix_(signals, signals)] = cells(sums.start)
    for i, j in np.ndindex(rank, n_fields):
        turn[n_in + i, j] = sums.interval * (readers[i, j] - float(n_in + i == j)) + float(n_in + i == j)
    C[:, :n_fields] = cells(readers[rank:])
    C[:, signals] = add(C[:, signals], cells(-sums.terms, sums.terms != 0))
    return Readings(turn, start), C


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
        now = Readings(turn, add(now.sum, _mirrored(times_transposed(times(now.turn, other.sum), now.turn))))
        if turn.dtype == object and sums.turns is not None and sums.sums is not None:
            # What is known before the network is needs no calculation in the kernel.
            known = np.ix_(*[[*range(sums.n_in), *range(len(turn) - sums.n_signals + sums.n_in, len(turn))]] * 2)
            now.turn[known] = cells(sums.turns[len(passed) - 1], sums.blocks)
            now.sum[known] = _mirrored(cells(sums.sums[len(passed) - 1]))
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
            W, V = add(W, of_other.turn), add(V, _mirrored(of_other.sum))
        else:
            of_one = Readings(*map(add, of_one, of_other))
    return Readings(add(W, of_one.turn), add(V, of_one.sum))


def _identity(like: Any) -> Any:
    one: Any = np.eye(len(like))
    return cells(one, one != 0) if like.dtype == object else jnp.asarray(one, like.dtype)


def _mirrored(matrix: Any) -> Any:
    """A symmetric matrix; of cells, those below the diagonal are those above it, which are then calculated once."""
    return np.where(np.tri(len(matrix), k=-1, dtype=bool), matrix.T, matrix) if matrix.dtype == object else matrix


def _nothing(like: Any) -> Any:
    return np.zeros(like.shape, object) if like.dtype == object else jnp.zeros_like(like)


def _joined(loss: jax.Array, slope: np.ndarray, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """The loss, and an array of the slope's cells."""
    # One vector, kept apart from what comes after: else each of its entries would calculate all of this anew.
    numbers = together([jnp.asarray(x, dtype) for x in (loss, *slope.ravel())])
    vector = lax.optimization_barrier(jnp.stack(numbers))
    return vector[0], vector[1:].reshape(slope.shape)


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
