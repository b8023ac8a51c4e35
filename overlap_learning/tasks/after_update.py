"""Readings after the update: trials whose output is read once the input of the same step has been taken up."""

from typing import Any

from jax.typing import ArrayLike

from overlap_learning.tasks.task import Task


def read_after_update(inputs: ArrayLike, targets: ArrayLike, mask: Any, dt: float) -> Task:
    """A task read after the update (`Task.read_after_update`), with the loss of Schuessler et al. 2020.

    The loss is half the mean of the squared error over what the mask counts, of all trials, steps and outputs together.

    Args:
        inputs: shape [B, T, n_in].
        targets: shape [B, T, n_out].
        mask: what counts, 0 or 1, shape [B, T, n_out].
        dt: the Euler step.
    """
    return Task(inputs, targets, mask / (2 * mask.sum()), dt).read_after_update()
