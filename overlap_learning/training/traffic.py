"""Memory traffic: what a learning step at full N moves, for a roofline."""

import jax.numpy as jnp
from jax.typing import DTypeLike

from overlap_learning.checks import count
from overlap_learning.model.model import Model, check_model
from overlap_learning.tasks.task import Task


def memory_traffic(model: Model, task: Task, n_neurons: int, dtype: DTypeLike = jnp.float32) -> int:
    """Bytes that one learning step of `ol.train` reads and writes, simulated time forth and back: for a roofline.

    Counted are the passes over arrays of the size of N, per time step, with `b = n_in + rank` spanning vectors and
    `a = rank + n_out` readers per neuron::

        forth   4 B + b + a       field (written), phi (read, written), its sums over neurons (read)
        back    10 B + 6 b + 5 a  field, phi, phi' and what flows back, and the running sums of the gradient

    numbers per neuron; for linear phi, which needs no pass of its own, `2 B + ...` and `5 B + ...`. All else (trials,
    k, the update of the vectors) is smaller by a factor of T or of N. Divided by the seconds of a step, this is the
    achieved bandwidth, to be held against that of the machine's copies. A compiler that fuses more moves less.

    Args:
        model: the `Model`.
        task: the `Task` (its numbers of trials and of steps are used).
        n_neurons: N.
        dtype: that of the states.

    Examples:
        >>> task = ol.tasks.flip_flop(key=jax.random.key(0), n_trials=10, duration=20.0)
        >>> model = ol.Model(ol.Layout(), ol.Erf())
        >>> ol.training.memory_traffic(model, task, 1_000_000) / 1e9
        265.6
    """
    check_model(model, "memory_traffic")
    layout = model.layout
    n_fields = layout.n_fields
    n_readers = layout.size - n_fields
    trials = (7 if model.is_linear else 14) * task.n_trials
    numbers = trials + 7 * n_fields + 6 * n_readers
    return numbers * task.n_steps * count(n_neurons, "memory_traffic: n_neurons") * jnp.dtype(dtype).itemsize
