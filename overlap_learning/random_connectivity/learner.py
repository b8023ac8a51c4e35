"""Learner: a reduced network that learns in its vectors, in W, or in both."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from overlap_learning.learning.learner import AbstractLearner
from overlap_learning.model.reduced_network import ReducedNetwork, driven, leading_values
from overlap_learning.tasks.task import Task

#: The leaves of a position; the others are there if W learns.
VECTORS, CHANGE, KEPT = "vectors", "change", "kept"


class ReducedLearner(AbstractLearner):
    """A linear network of p directions: the position is its vectors F, and `W = kept W0 + change` if it learns.

    The share kept has no gradient and is subject to weight decay and momentum as W0 is, which is larger than the space
    and of which no norm is finite for N to infinity; that of the change is.

    With F and W in the coordinates of the directions, `dF/dtau = -dL/dF` and `dW/dtau = -dL/dW` are the
    `dV/dtau = -N dL/dV` and `dW/dtau = -dL/dW` of N neurons: V is `sqrt(N)` times F.

    Attributes:
        rates: of the vectors, shape [d], of the change and of what is kept.
        network: the start.
    """

    rates: dict[str, Any]
    network: ReducedNetwork

    def loss(self, position: dict[str, jax.Array], task: Task) -> jax.Array:
        loss, _ = self._loss(position[VECTORS], None, position, task)
        return loss

    def gradient(self, position: dict[str, jax.Array], task: Task) -> tuple[jax.Array, dict[str, jax.Array]]:
        differentiated = jax.value_and_grad(self._loss, argnums=(0, 1), has_aux=True)
        if CHANGE not in position:
            (loss, _), (slope, _) = differentiated(position[VECTORS], None, position, task)
            return loss, {VECTORS: slope}
        size = len(position[VECTORS])
        kicks = jnp.zeros((task.n_steps, size, task.n_trials), position[CHANGE].dtype)
        (loss, states), (slope, adjoint) = differentiated(position[VECTORS], kicks, position, task)
        # One product for all times; the derivative of each step by W would be an outer product of its own.
        of_change = task.dt * jnp.einsum("tib,tjb->ij", adjoint, states)
        return loss, {VECTORS: slope, CHANGE: of_change, KEPT: jnp.zeros_like(position[KEPT])}

    def observe(self, position: dict[str, jax.Array]) -> dict[str, jax.Array]:
        vectors = position[VECTORS]
        found = {"gram": vectors.T @ vectors}
        if CHANGE not in position:
            return found
        change = position[CHANGE]
        square = jnp.sum(jnp.square(change))
        # At no change the derivative of the norm, and those of equal singular values, are not defined.
        norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
        return found | {"singular_values": leading_values(lax.stop_gradient(change)), "change_norm": norm}

    def size(self, position: dict[str, jax.Array]) -> jax.Array:
        largest = jnp.max(jnp.sum(jnp.square(position[VECTORS]), axis=0))
        if CHANGE in position:
            largest = jnp.maximum(largest, jnp.sum(jnp.square(position[CHANGE])))
        return jnp.maximum(largest, 1.0)

    def final(self, position: dict[str, jax.Array]) -> ReducedNetwork:
        return self._at(position)

    def _at(self, position: dict[str, jax.Array]) -> ReducedNetwork:
        network = self.network
        kept, change = position.get(KEPT, network.kept), position.get(CHANGE, network.change)
        return ReducedNetwork(position[VECTORS], network.layout, network.initial, kept, change)

    def _loss(
        self, vectors: jax.Array, kicks: jax.Array | None, position: dict[str, jax.Array], task: Task
    ) -> tuple[jax.Array, jax.Array | None]:
        outputs, states, activity = driven(self.network.layout, vectors, self._at(position).bulk, task, kicks)
        return task.loss(outputs, activity), states
