"""Preparation: what can be calculated of a task before learning is calculated once for each task."""

import weakref

import jax

from overlap_learning.dynamics.geometric import summed
from overlap_learning.model.precision import is_traced
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task

# By the address of a task, while it is there: the task, and the same prepared.
_known: dict[int, tuple[weakref.ref[Task], Task]] = {}


def prepared(task: Task | TaskStream) -> Task | TaskStream:
    """A task with all that can be calculated before learning; a stream as it is.

    For a short run this takes as long as learning. Arrays of jax do not change, so that the same task, used again, is
    not prepared again.
    """
    if isinstance(task, TaskStream):
        return task
    place = id(task)
    if place in _known and _known[place][0]() is task:
        return _known[place][1]
    found = summed(task)
    # What is calculated inside jit or vmap is of no use outside, and arrays of numpy may change.
    if found is not task and not is_traced(found) and all(isinstance(a, jax.Array) for a in jax.tree.leaves(task)):
        _known[place] = (weakref.ref(task, lambda _: _known.pop(place, None)), found)
    return found
