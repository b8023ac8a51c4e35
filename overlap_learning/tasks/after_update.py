"""Readings after the update: trials whose output is read once the input of the same step has been taken up."""

import jax
import jax.numpy as jnp

from overlap_learning.tasks.task import Task


def read_after_update(inputs: jax.Array, targets: jax.Array, mask: jax.Array, dt: float) -> Task:
    """A task whose reading of step t follows the update by input t: `y[t + 1]` of `Task`, whose y[0] does not count.

    The loss is half the mean of the squared error over what the mask counts, of all trials, steps and outputs together.

    Args:
        inputs: shape [B, T, n_in].
        targets: shape [B, T, n_out].
        mask: what counts, 0 or 1, shape [B, T, n_out].
        dt: the Euler step.
    """

    def padded(array: jax.Array, before: int) -> jax.Array:
        return jnp.pad(array, ((0, 0), (before, 1 - before), (0, 0)))

    counted = padded(mask, 1)
    return Task(padded(inputs, 0), padded(targets, 1), counted / (2 * counted.sum()), dt)
