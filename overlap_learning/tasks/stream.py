"""Streams: a fresh batch of trials at every learning step."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.guides import guide
from overlap_learning.model.activity import check_channels
from overlap_learning.model.model import Model, check_model
from overlap_learning.tasks.task import Task, check_task

#: Keys that give the same trials if a generator is to ignore its key: of one that tosses a coin, 1 in 30,000 do.
N_KEYS = 16


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
        return jax.eval_shape(functools.partial(_sample, self), jax.random.key(0))


@functools.partial(jax.jit, static_argnums=0)
def _sample(trials: TaskStream, key: jax.Array) -> Task:
    """Its batch: jax traces a function that it compiles once, and a method at each call."""
    return trials.sample(key)


def stream(generator: Callable[..., Task], **settings: Any) -> TaskStream:
    """A `TaskStream` of a task generator with these settings.

    Args:
        generator: a function of `key=` that returns a `Task`, such as `ol.tasks.flip_flop`.
        **settings: its other keyword arguments (hashable: numbers, strings and tuples).

    Raises:
        ValueError: if a setting can't be hashed, the generator does not return a `Task`, or its trials do not come from
            its key alone.

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
    _check_draws(result, batch)
    return result


def _check_draws(trials: TaskStream, batch: Task) -> None:
    """Refuse a generator whose trials do not come from its key alone, by its compiled program and by a few batches.

    Args:
        trials: of the generator.
        batch: its trials for `jax.random.key(0)`.

    Raises:
        ValueError: if they would be frozen in a compiled run, or differ between two runs with one key.
    """
    name = getattr(trials.generator, "__name__", repr(trials.generator))
    advice = (
        "Draw with jax.random from the key that it is given, as in `def trials(*, key): x = jax.random.normal(key, "
        f"(4, 10, 1)); ...`; or draw one fixed batch and pass that ol.Task.{guide('stream')}"
    )
    try:
        first, second = (jax.make_jaxpr(trials.sample)(jax.random.key(0)) for _ in range(2))
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"stream: {name} can't be compiled: it uses its key outside of jax ({reason}) {advice}"
        ) from None
    constants = zip(first.consts, second.consts, strict=False)
    if str(first) != str(second) or not all(np.array_equal(_known(a), _known(b)) for a, b in constants):
        raise ValueError(
            f"stream: {name} gave other trials for the same key: it draws from a generator of its own, or changes what "
            f"it reads. In a compiled run its trials would be frozen, and others in theory than at full N. {advice}"
        )
    # By values, as a program within the program (jit, scan) may be given the key and not use it.
    if all(_are_same(batch, trials.sample(jax.random.key(seed))) for seed in range(1, N_KEYS)):
        raise ValueError(f"stream: {name} ignores its key: every step would have the same trials. {advice}")


def _are_same(one: Task, other: Task) -> bool:
    return all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other)))


def _known(constant: Any) -> np.ndarray:
    """A constant of a program, of a random key its numbers."""
    is_key = jnp.issubdtype(constant.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(constant) if is_key else constant)


def check_trials(model: Model, task: Task | TaskStream, caller: str, *, with_bulk: bool = False) -> None:
    """Refuse trials of other channels than the model has, or a bulk as `check_model` does.

    Raises:
        ValueError: naming what was passed and what is allowed.
    """
    check_model(model, caller, with_bulk=with_bulk)
    if not isinstance(task, (Task, TaskStream)):
        raise ValueError(f"{caller}: task must be an ol.Task or an ol.tasks.stream(...), got {type(task).__name__}.")
    batch, layout = task.outline, model.layout
    # Both at once: asking a task for its sizes is half of what these checks cost.
    if batch.trials.sizes[2:] != (layout.n_in, layout.n_out):
        check_task(model, batch, caller, with_bulk=with_bulk)
        check_channels(layout, batch, caller)
