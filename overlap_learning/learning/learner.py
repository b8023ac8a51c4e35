"""Learners: what a rule moves. A learner knows its loss, and a rule knows nothing of it but this."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from overlap_learning.module import Module
from overlap_learning.tasks.task import Task


class AbstractLearner(Module):
    """Something that learns: a position, which is a pytree of arrays, and the loss as a function of it.

    Attributes:
        rates: the relative learning rate of each leaf of the position (1: plain, 0: frozen), a pytree of its structure
            whose arrays broadcast against its own.
    """

    #: Whether a run that has ended skips the steps that are left of a compiled call. Under vmap both ways of a choice
    #: run, and each member gets a copy of all that a step uses, the task included: not worth it for small positions.
    skips: ClassVar[bool] = False

    rates: eqx.AbstractVar[Any]

    @abc.abstractmethod
    def loss(self, position: Any, task: Task) -> jax.Array:
        """The loss, shape []."""

    @abc.abstractmethod
    def gradient(self, position: Any, task: Task) -> tuple[jax.Array, Any]:
        """The loss, and its gradient as a change of position, scaled as the learner's learning rates ask for."""

    def held_out(self, position: Any, task: Task) -> jax.Array:
        """The loss on what a rule is not shown, by which it may stop, shape []; the loss itself if nothing is."""
        return self.loss(position, task)

    def observe(self, position: Any) -> Any:
        """What is saved of a point, a pytree of arrays."""
        return position

    def size(self, position: Any) -> jax.Array:
        """The size of a position, shape []: a run whose position outgrows that of its start has diverged."""
        largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(position) if leaf.size]))
        # At least 1: many a start is 0.
        return jnp.maximum(largest, 1.0)

    def square(self, change: Any) -> jax.Array:
        """The squared norm of a change of position, shape [], by which gradients are clipped."""
        return sum((jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(change)), jnp.zeros(()))

    def diffuse(self, position: Any, variance: jax.Array, key: jax.Array) -> Any:
        """The position after every number that learns has moved by independent noise of this variance."""
        leaves, structure = jax.tree.flatten(position)
        keys = jax.random.split(key, len(leaves)) if len(leaves) > 1 else [key]

        def moved(leaf, rate, key):
            size = jnp.sqrt(variance).astype(leaf.dtype) * (rate > 0)
            return leaf + size * jax.random.normal(key, leaf.shape, leaf.dtype)

        rates = structure.flatten_up_to(self.rates)
        return structure.unflatten([moved(*each) for each in zip(leaves, rates, keys, strict=True)])

    def final(self, position: Any) -> Any:
        """What was learned, as a person knows it."""
        return position

    def stats(self, first: Any, last: Any, task: Task) -> dict[str, jax.Array]:
        """Numbers about a run from its first to its last position, on a batch of its trials."""
        return {}
