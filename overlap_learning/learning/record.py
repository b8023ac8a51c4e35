"""Records: what is kept of each saved point of a run."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np

from overlap_learning.checks import in_jax, in_numpy, is_traced, namespace
from overlap_learning.learning.outcomes import RESULTS
from overlap_learning.module import Module

if TYPE_CHECKING:
    from diffrax import DenseInterpolation
else:
    # Diffrax takes as long to import as all the rest, and descent does without.
    DenseInterpolation = Any


class Record(Module):
    """Saved points, stacked along the first axis (in a batch the second, after the members).

    Attributes:
        time: learning time, NaN where a run ended before the point was reached.
        step: steps done; None for a flow.
        loss: the loss.
        saved: what the learner observed, a pytree.
    """

    time: jax.Array
    step: jax.Array | None
    loss: jax.Array
    saved: Any


class Outcome(Module):
    """All that a run returns.

    Attributes:
        record: what was saved.
        position: where it ended.
        result: how.
        stats: numbers about it.
        interpolation: the interpolant of the position, if the rule keeps one.
    """

    record: Record
    position: Any
    result: RESULTS
    stats: dict[str, jax.Array]
    interpolation: DenseInterpolation | None = None


def join(records: list[Record]) -> Record:
    """Records one after another; in a batch, each member's.

    Of records that are known this is done in numpy, which compiles no program for each number of them.
    """
    if len(records) == 1:
        return jax.tree.map(in_jax, records[0])
    axis, records = records[0].time.ndim - 1, in_numpy(records)
    xp = namespace(records)
    return jax.tree.map(lambda *parts: in_jax(xp.concatenate(parts, axis=axis)), *records)


def pad(record: Record, n_points: int) -> Record:
    """The record with its last point again, as one that was not reached, until there are `n_points`."""
    axis = record.time.ndim - 1
    missing = n_points - record.time.shape[axis]
    if missing == 0:
        return record

    xp = namespace(record := in_numpy(record))
    again = jax.tree.map(lambda array: xp.repeat(array, missing, axis=axis), last(record))
    return join([record, eqx.tree_at(lambda r: r.time, again, xp.full_like(again.time, xp.nan))])


def last(record: Record) -> Record:
    """The last saved point of a record; in numpy, if its values are known."""
    axis, xp = record.time.ndim - 1, namespace(record := in_numpy(record))
    return jax.tree.map(lambda array: xp.take(array, xp.asarray([-1]), axis=axis), record)


def taken(record: Record, own: np.ndarray) -> Record:
    """Some of the points of a run; where it ended between two of them, its end in place of the later one.

    Of a run that was interrupted there are fewer points than it was to have.
    """
    record, n_points = in_numpy(record), record.time.shape[0]
    xp = namespace(record)
    before, last = np.append(-1, own[:-1]), xp.sum(xp.isfinite(record.time)) - 1
    places = xp.where((before < last) & (last < own), last, own)[before < n_points - 1]
    return jax.tree.map(lambda array: in_jax(xp.take(array, places, axis=0)), record)


def trim(record: Record) -> Record:
    """The record without the points that were not reached (unchanged in a batch, where shapes are fixed)."""
    if is_traced(record.time) or record.time.ndim > 1:
        return record
    reached = np.isfinite(np.asarray(record.time))
    return record if reached.all() else jax.tree.map(lambda a: in_jax(np.asarray(a)[reached]), record)
