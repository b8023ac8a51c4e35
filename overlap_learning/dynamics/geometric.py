"""Geometric sums: the loss of a linear network that answers an impulse, without stepping through time."""

from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from overlap_learning.model.entries import entries, total, widened
from overlap_learning.model.layout import Layout
from overlap_learning.tasks.impulse import ImpulseTrials
from overlap_learning.tasks.task import Task

#: The sums are written out entry by entry if c has at most so many; they are many matrices, and each entry compiles.
MOST_ENTRIES = 4


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
    """Impulse trials, their arrays, and the sums of their known signals.

    Known are the inputs that have decayed for k steps, `(1 - dt)^k dt x[0]`, and the terms of the target; an
    oscillating term comes with its partner, a quarter of a period away.

    Attributes:
        start: `r[0] r[0]^T`, summed over trials, shape [q, q].
        doublings: from one reading to all.
        sum: over all readings.
        weight: of each squared error.
        silent: the loss of a network that says nothing, shape [].
        oscillates: whether each term of the target has a partner.
    """

    inputs: jax.Array
    targets: jax.Array
    weights: jax.Array
    start: jax.Array
    doublings: list[Doubling]
    sum: jax.Array
    weight: jax.Array
    silent: jax.Array
    oscillates: bool = eqx.field(static=True)

    def terms(self, n_out: int) -> np.ndarray:
        """Which known signals make up the target of each output, 1 or 0, shape [n_out, q]."""
        n_in = self.inputs.shape[-1]
        n_signals = len(self.start) - n_in
        n_partners = 2 if self.oscillates else 1
        of_output = np.tile(np.repeat(np.eye(n_out), n_partners, axis=1), n_signals // (n_out * n_partners))
        return np.pad(of_output * (np.arange(n_signals) % n_partners == 0), ((0, 0), (n_in, 0)))

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        n_trials, n_steps, n_in = self.inputs.shape
        return n_trials, n_steps, n_in, self.targets.shape[-1]

    @property
    def turns(self) -> np.ndarray:
        """The entries of Q that are not 0 by structure, booleans [q, q]."""
        n_in, size = self.inputs.shape[-1], len(self.start)
        signal = np.arange(size)
        pair = np.where(signal < n_in, -1 - signal, (signal - n_in) // 2 if self.oscillates else signal)
        return pair[:, None] == pair


def summed(task: Task) -> Task:
    """A task with all that can be calculated before learning: to be called outside the loop over learning steps."""
    return _summed(task) if isinstance(task.trials, ImpulseTrials) else task


@eqx.filter_jit
def _summed(task: Task) -> Task:
    trials = cast(ImpulseTrials, task.trials)
    first = _first(trials, task.dt)
    start = jnp.einsum("bq,br->qr", first, first)
    doublings, found, n = [], start, 1
    # The binary digits of the number of readings after the leading one say how to come to it from 1.
    for digit in bin(trials.n_readings)[3:]:
        turn = _turn(trials, task.dt, n)
        last = _turn(trials, task.dt, 2 * n) if digit == "1" else None
        doublings.append(Doubling(turn, found, last))
        found = found + turn @ found @ turn.T
        n *= 2
        if last is not None:
            found = found + last @ start @ last.T
            n += 1
    ready = SummedTrials(
        trials.inputs,
        trials.targets,
        trials.weights,
        start,
        doublings,
        found,
        trials.weight,
        silent_loss(task),
        trials.frequencies is not None,
    )
    return eqx.tree_at(lambda t: t.trials, task, ready)


@eqx.filter_jit
def response_loss(layout: Layout, gram: jax.Array, dt: jax.Array, trials: SummedTrials) -> jax.Array:
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

    Args:
        layout: of the network.
        gram: G.
        dt: the Euler step.
        trials: what is known beforehand.

    Source: theory page, section 2, eq. (3), summed.
    """
    n_in, n_fields, rank = layout.n_in, layout.n_fields, layout.rank
    readers = gram[n_fields:, :n_fields]
    n_signals = len(trials.start)
    written_out = 0 < rank * n_signals <= MOST_ENTRIES
    answered = trials.terms(layout.n_out)

    def own(matrix: Any, where: np.ndarray | None = None) -> Any:
        return entries(matrix, written_out, where)

    visible = own(jnp.concatenate([dt * readers[:rank], readers[rank:]]))
    one_step = own((1 - dt) * jnp.eye(rank, dtype=gram.dtype), np.eye(rank) > 0) + visible[:rank, n_in:]
    one_drive = widened(visible[:rank, :n_in], n_signals)
    nothing = np.zeros((rank, n_signals), bool)
    X, Y = own(0.0, nothing[:, :1] & nothing[:, :1].T), own(0.0, nothing)
    power, drive, start = one_step, one_drive, own(trials.start)
    for doubling in trials.doublings:
        turn = own(doubling.turn, trials.turns)
        shifted = power @ Y
        H = shifted + drive @ own(doubling.sum)
        X = X + power @ X @ power.T + shifted @ drive.T + drive @ H.T
        Y = Y + H @ turn.T
        drive = power @ drive + drive @ turn
        power = power @ power
        if doubling.last is not None:
            last = own(doubling.last, trials.turns)
            first = drive @ start
            X = X + first @ drive.T
            Y = Y + first @ last.T
            drive = one_step @ drive + one_drive @ last
            power = power @ one_step

    known = widened(visible[rank:, :n_in], n_signals) + own(-answered, answered > 0)
    state = visible[rank:, n_in:]
    cross = known @ Y.T @ state.T
    return trials.weight * total(known @ own(trials.sum) @ known.T + (cross + cross) + state @ X @ state.T)


def silent_loss(task: Task) -> jax.Array:
    """The loss of a network whose outputs are 0, shape []."""
    if isinstance(task.trials, SummedTrials):
        return task.trials.silent
    return jnp.sum(task.weights * jnp.square(task.targets))


def not_negative(loss: jax.Array) -> jax.Array:
    """The loss, or 0 where rounding has left less than 0."""
    # Its derivatives are those of the loss also there.
    return loss + lax.stop_gradient(jnp.maximum(-loss, 0.0))


def _first(trials: ImpulseTrials, dt: jax.Array) -> jax.Array:
    """The known signals at the first reading that counts, r[0], shape [B, q]."""
    terms = trials.cosines
    if trials.sines is not None:
        terms = jnp.stack([trials.cosines, trials.sines], axis=-1)
    return jnp.concatenate([dt * trials.impulses, terms.reshape(len(terms), -1)], axis=1)


def _turn(trials: ImpulseTrials, dt: jax.Array, n: int) -> jax.Array:
    """`Q^n`, shape [q, q]: how the known signals change in n steps."""
    n_in, n_out = trials.impulses.shape[1], trials.cosines.shape[-1]
    time = n * trials.spacing
    size = jnp.exp(-trials.decays * time)
    blocks = [jnp.full((n_in, 1, 1), (1 - dt) ** n)]
    if trials.frequencies is None:
        terms = size[:, None, None]
    else:
        # (a cos + b sin, b cos - a sin) at a later time, from those now.
        cosine, sine = jnp.cos(trials.frequencies * time), jnp.sin(trials.frequencies * time)
        terms = size[:, None, None] * jnp.stack([jnp.stack([cosine, sine], -1), jnp.stack([-sine, cosine], -1)], -2)
    blocks.append(jnp.repeat(terms, n_out, axis=0))
    return jax.scipy.linalg.block_diag(*(block for group in blocks for block in group))
