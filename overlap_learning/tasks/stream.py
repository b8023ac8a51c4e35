"""Streams: a fresh batch of trials at every learning step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from overlap_learning.model.activity import check_channels
from overlap_learning.model.model import Model, check_model
from overlap_learning.tasks.task import Task, check_task


@dataclasses.dataclass(frozen=True)
class TaskStream:
    """Draws a fresh batch each learning step. Theory and full N draw the same trials from the same key.

    Args:
        generator: a function that takes `key=` (and the settings) and returns a `Task`, with jax operations throughout,
            such as `ol.tasks.flip_flop`.
        settings: keyword arguments of the generator, as sorted pairs; use `ol.tasks.stream` to write them as keywords.

    Examples:
        >>> trials = ol.tasks.stream(ol.tasks.flip_flop, n_trials=4, duration=10.0)
        >>> trials.sample(jax.random.key(0)).inputs.shape
        (4, 200, 1)
    """

    generator: Callable[..., Task]
    settings: tuple[tuple[str, Any], ...] = ()

    def sample(self, key: jax.Array) -> Task:
        """One batch of trials."""
        return self.generator(key=key, **dict(self.settings))

    @property
    def outline(self) -> Task:
        """A batch of which only shapes are known."""
        return jax.eval_shape(self.sample, jax.random.key(0))


def stream(generator: Callable[..., Task], **settings: Any) -> TaskStream:
    """A `TaskStream` of a task generator with these settings.

    Args:
        generator: a function of `key=` that returns a `Task`, such as `ol.tasks.flip_flop`.
        **settings: its other keyword arguments (hashable: numbers, strings and tuples).

    Raises:
        ValueError: if a setting can't be hashed, or the generator does not return a `Task`.

    Examples:
        >>> ol.tasks.stream(ol.tasks.decision_making, n_trials=16).sample(jax.random.key(1)).n_trials
        16
    """
    result = TaskStream(generator, tuple(sorted(settings.items())))
    try:
        hash(result)
    except TypeError:
        raise ValueError(f"stream: settings must be numbers, strings or tuples, got {settings!r}.") from None
    try:
        # One real batch: traced settings could not be checked against their ranges.
        batch = result.sample(jax.random.key(0))
    except TypeError as error:
        raise ValueError(f"stream: the generator must be called as generator(key=..., **settings): {error}.") from None
    if not isinstance(batch, Task):
        raise ValueError(f"stream: the generator must return an ol.Task, got {batch!r}.")
    return result


def check_trials(model: Model, task: Task | TaskStream, caller: str, *, with_bulk: bool = False) -> None:
    """Refuse trials of other channels than the model has, or a bulk as `check_model` does.

    Raises:
        ValueError: naming what was passed and what is allowed.
    """
    check_model(model, caller, with_bulk=with_bulk)
    if not isinstance(task, (Task, TaskStream)):
        raise ValueError(f"{caller}: task must be an ol.Task or an ol.tasks.stream(...), got {type(task).__name__}.")
    batch = task.outline
    check_task(model, batch, caller, with_bulk=with_bulk)
    check_channels(model.layout, batch, caller)
