"""NeuronLearner: every neuron of a network, or a few weighted ones that stand for many."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from overlap_learning.learning.learner import AbstractLearner
from overlap_learning.model.activity import Activity
from overlap_learning.model.bulk_network import bulk_network_of
from overlap_learning.model.model import Model
from overlap_learning.model.network import AbstractNetwork, network_of, weighted_gram
from overlap_learning.neurons.arrays import Neurons
from overlap_learning.neurons.states import network_activity
from overlap_learning.tasks.task import Task


class NeuronLearner(AbstractLearner):
    """Full N: the position is V, its scaled gradient `dL/dV_i / w_i` (N dL/dV for plain ones); and a W that learns.

    Of tied vectors the free ones are the position, so that every rule takes them for one array of each neuron.
    """

    skips: ClassVar[bool] = True

    model: Model
    rates: Neurons
    weights: jax.Array
    #: W if it does not learn; None: it does, or there is none.
    bulk: Any = None
    #: Of the free vectors, shape [f]; None: 1.
    units: jax.Array | None = None
    per_neuron: bool = eqx.field(static=True, default=True)
    state_dtype: jnp.dtype | None = eqx.field(static=True, default=None)
    keeps_vectors: bool = eqx.field(static=True, default=False)
    #: Directions over neurons, shape [N, r], `B^T diag(w) B = 1`, and how much is kept of a gradient that leaves them.
    basis: jax.Array | None = None
    kept: jax.Array | None = None

    @classmethod
    def begin(cls, model: Model, start: AbstractNetwork, rates: jax.Array) -> tuple["NeuronLearner", Neurons]:
        """The learner of a network without a bulk, in double precision, and its position at the start."""
        start = jax.tree.map(lambda array: array.astype(float), start)
        learner = cls(model=model, rates=Neurons(model.free(rates)), weights=start.weights)
        return learner, Neurons(model.free(start.vectors))

    def loss(self, position: Neurons, task: Task) -> jax.Array:
        # A loss that somebody wrote may have products of matrices.
        with jax.default_matmul_precision("highest"):
            return task.loss(*self.activity(position, task))

    def activity(self, position: Neurons, task: Task) -> Activity:
        """What a task asks for of the neurons."""
        vectors, bulk = self._vectors(position), self._bulk(position)
        # Neurons beside a theory are few, on one device.
        beside = self.basis is not None
        return network_activity(self.model, vectors, self.weights, bulk, task, self.state_dtype, beside)

    def gradient(self, position: Neurons, task: Task) -> tuple[jax.Array, Neurons]:
        value, slope = jax.value_and_grad(lambda at: self.loss(at, task))(position)
        return value, self.scaled(slope)

    def scaled(self, slope: Neurons) -> Neurons:
        """The gradient `dL/dV_i / w_i` from `dL/dV_i`, or, of what is linear in a basis alone, its part there."""
        if not self.per_neuron:
            return slope
        # A neuron of weight 0 fills up a smaller network of a batch: nothing depends on it, and it stays where it is.
        scaled = slope.vectors / jnp.where(self.weights > 0, self.weights, 1)[:, None]
        if self.basis is not None and self.kept is not None:
            within = self.basis @ (self.basis.T @ slope.vectors)
            scaled = within + self.kept * (scaled - within)
        return Neurons(scaled, slope.bulk)

    def observe(self, position: Neurons) -> dict[str, jax.Array]:
        # Of N neurons their overlaps are saved, and all of them for those who ask.
        vectors = self._vectors(position)
        found = {"gram": weighted_gram(vectors, self.weights)}
        if not self.keeps_vectors:
            return found
        return found | {"vectors": vectors} | ({} if position.bulk is None else {"bulk": position.bulk})

    def size(self, position: Neurons) -> jax.Array:
        size = jnp.max(jnp.diagonal(weighted_gram(self._vectors(position), self.weights)))
        if position.bulk is None:
            return size
        return jnp.maximum(size, jnp.sum(jnp.square(position.bulk)) / len(position.bulk))

    def square(self, change: Neurons) -> jax.Array:
        # What the loss falls by along a gradient: of vectors the mean over neurons.
        each = self.weights if self.per_neuron else jnp.ones_like(self.weights)
        square = jnp.trace(weighted_gram(change.vectors, each))
        return square if change.bulk is None else square + jnp.sum(jnp.square(change.bulk))

    def diffuse(self, position: Neurons, variance: jax.Array, key: jax.Array) -> Neurons:
        moved = super().diffuse(position, variance, key)
        if position.bulk is None or not self.per_neuron:
            return moved
        # The drift of W is N times less than that of V: so is the variance, for noise of one temperature.
        step = (moved.bulk - position.bulk) / jnp.sqrt(len(position.bulk))
        return Neurons(moved.vectors, position.bulk + step)

    def final(self, position: Neurons) -> AbstractNetwork:
        vectors, bulk, layout = self._vectors(position), self._bulk(position), self.model.layout
        if bulk is None:
            return network_of(vectors, layout, self.weights)
        return bulk_network_of(vectors, layout, self.weights, bulk)

    def _vectors(self, position: Neurons) -> jax.Array:
        free = position.vectors if self.units is None else position.vectors * self.units
        return self.model.written_out(free)

    def _bulk(self, position: Neurons) -> Any:
        return self.bulk if position.bulk is None else position.bulk
