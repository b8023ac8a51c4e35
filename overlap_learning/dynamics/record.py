"""Records: what is kept of each saved point of a run."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.dynamics.learner import AbstractLearner
from overlap_learning.dynamics.results import RESULTS
from overlap_learning.model.precision import is_traced


class Record(eqx.Module):
    """Saved points, stacked along the first axis. Time is NaN where a run ended before the point was reached."""

    time: jax.Array
    step: jax.Array | None
    loss: jax.Array
    gram: jax.Array
    transfer: jax.Array | None


class Outcome(eqx.Module):
    """All that a rule's run returns: what was saved, where it ended, and how."""

    record: Record
    position: jax.Array
    result: RESULTS
    stats: dict[str, jax.Array]
    # The interpolant of the position, if the rule keeps one.
    interpolation: diffrax.DenseInterpolation | None = None


def join(records: list[Record]) -> Record:
    """Records one after another."""
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *records)


def trim(record: Record) -> Record:
    """The record without the points that were not reached (unchanged inside vmap, where shapes are fixed)."""
    if is_traced(record.time):
        return record
    reached = np.isfinite(np.asarray(record.time))
    return record if reached.all() else jax.tree.map(lambda a: a[reached], record)


def point(
    learner: AbstractLearner, position: jax.Array, time: jax.Array, step: jax.Array | None, loss: jax.Array
) -> Record:
    """One saved point, with a first axis of length 1."""
    record = Record(time, step, loss, learner.gram(position), learner.transfer(position))
    return jax.tree.map(lambda a: a[None], record)
