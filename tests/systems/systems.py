"""Systems that learn, with what is known of them exactly: the library of tests/systems."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from dynamics_helpers import make_task

import overlap_learning as ol
from overlap_learning.dynamics.learners import DirectLearner, FactorLearner, MixtureLearner, TransferLearner
from overlap_learning.learning.learner import AbstractLearner
from overlap_learning.model.reduced_network import ReducedNetwork
from overlap_learning.neurons.arrays import Neurons
from overlap_learning.neurons.learner import NeuronLearner
from overlap_learning.random_connectivity.learner import ReducedLearner
from overlap_learning.random_connectivity.words import FreeWords, reduce
from overlap_learning.training import LSTM, LSTMLearner
from overlap_learning.validation.expansion import ExpansionLearner, polynomials


class Regression(AbstractLearner):
    """Linear regression, `y = x W + b`: a learner of a plain pytree, which knows nothing of networks."""

    rates: Any
    scale: jax.Array

    def loss(self, position, task):
        return self.scale * task.loss(task.inputs @ position["layer"]["weights"] + position["bias"])

    def gradient(self, position, task):
        return jax.value_and_grad(self.loss)(position, task)


LAYOUT = ol.Layout(1, 1, 1)
RATES = jnp.array([1.0, 0.5, 2.0, 1.0])
TASK = make_task(LAYOUT, n_trials=3, n_times=12)
START = ol.Overlaps.random(LAYOUT, key=jax.random.key(0), scale=0.3)
LINEAR, ERF = ol.Model(LAYOUT, ol.Linear()), ol.Model(LAYOUT, ol.Erf())
FILTER = ol.tasks.exponential_filter(duration=3.0)


@dataclasses.dataclass(frozen=True)
class System:
    """A learner at a position.

    Args:
        name: what it is.
        make: the learner, the position and the task.
        per_member: of a batch, the learner's arrays of which each member has its own.
    """

    name: str
    make: Callable[[], tuple[Any, Any, ol.Task]]
    per_member: tuple[str, ...]


def regression():
    position = {"bias": jnp.zeros(1), "layer": {"weights": jnp.array([[0.3], [-0.2]])}}
    rates = jax.tree.map(jnp.ones_like, position)
    random = np.random.default_rng(0)
    inputs = random.normal(size=(3, 5, 2))
    targets = inputs @ np.array([[1.0], [-2.0]]) + 0.5 + 0.1 * random.normal(size=(3, 5, 1))
    return Regression(rates, jnp.asarray(1.0)), position, ol.Task(inputs, targets, np.full(targets.shape, 1 / 15), 1.0)


def _theory(kind, model, start, task):
    return lambda: (*kind.begin(model, start, RATES), task)


def _neurons():
    network = ol.Network.sample(START, 12, key=jax.random.key(1))
    weights = jnp.linspace(1.0, 2.0, 12)
    return NeuronLearner(ERF, Neurons(RATES), weights / weights.sum()), Neurons(network.vectors), TASK


def _bulk():
    """Vectors and a matrix: a position of two arrays, whose learning rates and gradients are scaled each in its way."""
    vectors = ol.Network.sample(START, 12, key=jax.random.key(1)).vectors
    position = Neurons(vectors, ol.RandomBulk(0.9).sample(12, jax.random.key(2)))
    return NeuronLearner(ERF, Neurons(RATES, jnp.array(0.5)), jnp.full(12, 1 / 12)), position, TASK


def _reduced():
    """A bulk in a few directions: vectors, what W has learned, and what weight decay has left of W0."""
    bulk = jnp.asarray(reduce(FreeWords(0.5, 0.0), 4).bulk)
    vectors = jnp.zeros((16, 4)).at[:4].set(ol.model.factor.gram_factor(START.gram))
    network = ReducedNetwork(vectors, LAYOUT, bulk, jnp.ones(()), jnp.zeros((16, 16)))
    position = {"vectors": vectors, "change": network.change, "kept": network.kept}
    rates = {"vectors": RATES, "change": jnp.array(0.5), "kept": jnp.array(0.5)}
    return ReducedLearner(rates, network), position, TASK


def _expansion():
    nodes = ol.model.HermiteGrid(3, 2, folded=True)
    points, weights = (np.asarray(a) for a in nodes.standard(4, 2))
    basis = polynomials(points, 2, 2)
    position = jnp.zeros((basis.shape[1], 4)).at[:4].set(np.asarray(ol.model.network.triangular_factor(START)))
    return ExpansionLearner(ERF, RATES, jnp.asarray(basis), jnp.asarray(weights)), position, TASK


def _lstm():
    """A position that is a module of modules, and cross-entropy of sentences of several lengths."""
    sentences = ol.tasks.Sentences([[1, 2, 3, 4], [4, 1, 0, 0], [2, 0, 0, 0]], [4, 2, 1], [1, 0, 1])
    lstm = LSTM.sample(3, 4, n_layers=1, key=jax.random.key(5))
    embeddings = np.concatenate([np.zeros((1, 3)), np.random.default_rng(0).normal(size=(4, 3))])
    return LSTMLearner(lstm, embeddings, rates=2.0), lstm, sentences.task


POPULATIONS = ol.Populations.split(START, ol.model.HermiteGrid(2), share=0.5)

SYSTEMS = [
    System("regression", regression, ("scale",)),
    System("filter in closed form", _theory(TransferLearner, LINEAR, START, FILTER), ("start",)),
    System("linear theory", _theory(TransferLearner, LINEAR, START, TASK), ("start",)),
    System("erf theory", _theory(TransferLearner, ERF, START, TASK), ("start",)),
    System("factor", _theory(FactorLearner, ERF, START, TASK), ("rates",)),
    System("direct", _theory(DirectLearner, ERF, START, TASK), ("rates",)),
    System("populations", _theory(MixtureLearner, ERF, POPULATIONS, TASK), ("start",)),
    System("neurons", _neurons, ("weights",)),
    System("bulk", _bulk, ("weights",)),
    System("reduced bulk", _reduced, ("rates",)),
    System("LSTM", _lstm, ("embeddings",)),
    System("expansion", _expansion, ("weights",)),
]


def every(tree, index=None):
    """A batch of two of a pytree, or one of its members."""
    return jax.tree.map(lambda a: jnp.asarray(np.stack([a] * 2) if index is None else np.asarray(a)[index]), tree)


def moved(position, direction, size, rates, *, scaled=False):
    """Along a direction all that learns, or each array at its rate."""

    def move(x, g, p):
        x, g, p = (np.asarray(array) for array in (x, g, p))
        return jnp.asarray(x + size * g * (p if scaled else p > 0))

    return jax.tree.map(move, position, direction, rates)


def batch_of(system):
    """Two members: as made, and from a start that is a little larger."""
    learner, position, task = system.make()
    both = jax.tree.map(lambda a: jnp.asarray(np.stack([a, 1.01 * np.asarray(a)])), position)
    own = [getattr(learner, name) for name in system.per_member]
    learners = eqx.tree_at(lambda t: [getattr(t, name) for name in system.per_member], learner, every(own))
    return learners, both, task
